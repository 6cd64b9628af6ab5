"""The newest prices as a metric, by coin."""

from crypto_updates.bus.event import Event
from worker.metrics import PRICE


class Prices:
    """`is_shown`: whether there is a metric at all. Each coin is a time series of its own."""

    def __init__(self, *, is_shown: bool) -> None:
        self._is_shown = is_shown

    def look(self, made: Event) -> None:
        """Note the prices of the event's quotes. A coin that gets no price keeps its last one."""
        if not self._is_shown:
            return
        for quote in made.data or ():
            if quote.price is not None:
                PRICE.labels(quote.coin, quote.currency).set(quote.price)

    def forget(self) -> None:
        """Drop the prices: another worker makes the events."""
        PRICE.clear()
