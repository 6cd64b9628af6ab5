"""How old the quotes are: a metric by coin, and a warning of listings that look frozen."""

import logging
import math
import time
from datetime import UTC, datetime
from functools import partial

from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import is_stale, max_quote_age
from worker.metrics import QUOTE_AGE, QUOTE_AGE_LIMIT

log = logging.getLogger(__name__)


class Freshness:
    def __init__(self, coins: tuple[str, ...], cron: Cron) -> None:
        self._cron = cron
        self._coins = coins
        self._missing = set(coins)
        self._stale: set[str] = set()

    def look(self, made: Event) -> None:
        """Note the ages of the event's quotes, and warn of each stale coin once, and again only if it was fresh since.

        The age of a coin that gets no more quotes goes on growing. It is infinite when there never was one.
        """
        QUOTE_AGE_LIMIT.set(max_quote_age(self._cron, made.timestamp).total_seconds())
        for quote in made.data or ():
            if quote.updated_at:
                self._missing.discard(quote.coin)
                QUOTE_AGE.labels(quote.coin).set_function(partial(_age, quote.updated_at.timestamp()))
                # The slot of an event that was made by hand may be in the future.
                self._warn(quote.coin, min(made.timestamp, datetime.now(UTC)), quote.updated_at)
        for coin in self._missing:
            QUOTE_AGE.labels(coin).set(math.inf)

    def forget(self) -> None:
        """Drop the ages: another worker makes the events, and this one does not see its quotes."""
        QUOTE_AGE.clear()
        self._missing = set(self._coins)

    def _warn(self, coin: str, slot: datetime, updated_at: datetime) -> None:
        if not is_stale(self._cron, slot, updated_at):
            self._stale.discard(coin)
        elif coin not in self._stale:
            self._stale.add(coin)
            log.warning("[MARKET] %s: last updated %s; the listing looks frozen", coin, updated_at.date())


def _age(since: float) -> float:
    return max(0.0, time.time() - since)
