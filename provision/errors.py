"""The errors of the provisioner."""


class ProvisionError(Exception):
    """The provisioner failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)
