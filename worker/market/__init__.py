"""Where quotes come from: the sources behind MARKET_SOURCE. Nothing else in the worker makes HTTP calls out."""

from datetime import datetime
from typing import Protocol

from crypto_updates.bus.event import Quote
from worker.market.coingecko import CoinGecko, Plan
from worker.market.errors import MarketError, TemporaryMarketError
from worker.market.simulated import Simulated

__all__ = ["SOURCES", "Market", "MarketError", "Plan", "TemporaryMarketError", "open_market"]

SOURCES = ("coingecko", "simulated", "none")


class Market(Protocol):
    """A source of quotes. `name` goes into the event as its `source`.

    `knows_past` is True if it can tell the quotes of a past slot; else they are always those of now.
    """

    knows_past: bool

    @property
    def name(self) -> str: ...

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        """The quotes for `slot`, in the order of COINS, within `budget` seconds with all retries and waits.

        All or nothing, but for coins that the source does not know. Raises MarketError.
        """
        ...

    async def close(self) -> None: ...


def open_market(
    source: str, *, coins: tuple[str, ...], currency: str, url: str | None, plan: Plan, api_key: str | None
) -> Market | None:
    """The market that `source` names, or None for `none`: no market is wanted. Raises MarketError on bad settings."""
    if source not in SOURCES:
        raise MarketError(f"MARKET_SOURCE: {source!r} is not one of {', '.join(SOURCES)}")
    if source == "none":
        return None
    if not coins:
        raise MarketError("COINS: empty, where at least one coin such as bitcoin is wanted")
    if source == "simulated":
        return Simulated(coins=coins, currency=currency)
    return CoinGecko(coins=coins, currency=currency, url=url, plan=plan, api_key=api_key)
