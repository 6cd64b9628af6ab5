from crypto_updates.service.errors import CryptoUpdatesError


class MarketError(CryptoUpdatesError):
    """The market gave no quotes."""


class UnknownCoinsError(MarketError):
    """The source answered, and has no quote of the coins for the slot."""


class TemporaryMarketError(MarketError):
    """The market gave no quotes this time: the same request may succeed later."""

    def __init__(self, message: str | None = None, retry_after: float | None = None) -> None:
        """`retry_after`: the seconds to wait before the next request, None if they are not known."""
        super().__init__(message)
        self.retry_after = retry_after


class UnreachableSourceError(TemporaryMarketError):
    """There is no connection to the source."""
