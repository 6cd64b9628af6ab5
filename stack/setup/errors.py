"""The errors of the set-up."""


class SetupError(Exception):
    """The set-up failed."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class CredentialError(SetupError):
    """The credentials could not be made."""


class ProvisionError(SetupError):
    """The stream, the consumer, the replica set, the indexes or the users could not be made."""
