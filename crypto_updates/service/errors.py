class CryptoUpdatesError(Exception):
    """Crypto Updates failed."""

    def __init__(self, message: str | None = None) -> None:
        """The class's docstring is the default message."""
        super().__init__(message or self.__doc__)


def text(error: BaseException) -> str:
    """Return the exception's message. If it has none, as a TimeoutError, return the name of its class."""
    return str(error) or type(error).__name__
