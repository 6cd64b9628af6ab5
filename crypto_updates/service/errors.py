"""The base of all errors of this project, and how an exception reads in a line."""


class CryptoUpdatesError(Exception):
    """Crypto Updates failed."""

    def __init__(self, message: str | None = None) -> None:
        """Without a message, the class's docstring is the message."""
        super().__init__(message or self.__doc__)


def text(error: BaseException) -> str:
    """What an exception says, or its class's name where it says nothing, as a TimeoutError does."""
    return str(error) or type(error).__name__
