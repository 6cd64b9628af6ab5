"""The newest prices as a metric, by coin."""

from crypto_updates.bus.event import Event
from worker.metrics import PRICE


class Prices:
    """`is_shown`: whether there is a metric at all. Each coin is a time series of its own."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._shown = set[tuple[str, str]]()

    def look(self, made: Event) -> None:
        """Show the prices of the event's quotes, and no longer that of a coin that got none: it would look new."""
        if not self._is_shown:
            return
        prices = {(quote.coin, quote.currency): quote.price for quote in made.data or () if quote.price is not None}
        for labels, price in prices.items():
            PRICE.labels(*labels).set(price)
        for labels in self._shown - prices.keys():
            PRICE.remove(*labels)
        self._shown = set(prices)

    def forget(self) -> None:
        """Drop the prices: another worker makes the events."""
        PRICE.clear()
        self._shown.clear()
