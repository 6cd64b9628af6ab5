"""The errors of the one-shot that makes the credentials."""


class CredentialError(Exception):
    """The credentials could not be made."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)
