"""Where quotes come from: the sources behind MARKET_SOURCE. Nothing else in the worker makes HTTP calls out."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from crypto_updates.bus.event import Quote
from worker.market.coingecko import CoinGecko
from worker.market.errors import MarketError, TemporaryMarketError
from worker.market.simulated import Simulated

if TYPE_CHECKING:  # the settings import the names of the sources from here
    from worker.config import WorkerSettings

__all__ = ["SOURCES", "Market", "MarketError", "TemporaryMarketError", "open_market"]


class Market(Protocol):
    """A source of quotes. `name` goes into the event as its `source`.

    `knows_past` is True if the source can give the quotes of a past slot; otherwise it always gives those of now.
    """

    knows_past: bool

    @property
    def name(self) -> str: ...

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        """The quotes for `slot`, in the order of COINS, within `budget` seconds with all retries and waits.

        All or nothing, except that coins unknown to the source are left out. Raises MarketError.
        """
        ...

    async def close(self) -> None: ...


def _coingecko(settings: WorkerSettings) -> Market:
    return CoinGecko(
        coins=settings.coins,
        currency=settings.vs_currency,
        url=settings.coingecko_url,
        plan=settings.coingecko_plan,
        api_key=settings.coingecko_api_key.get_secret_value() if settings.coingecko_api_key else None,
    )


# The values of MARKET_SOURCE, and what each opens. `none` means that the event goes without data.
SOURCES: dict[str, Callable[[WorkerSettings], Market | None]] = {
    "coingecko": _coingecko,
    "simulated": lambda settings: Simulated(coins=settings.coins, currency=settings.vs_currency),
    "none": lambda _: None,
}


@contextlib.asynccontextmanager
async def open_market(settings: WorkerSettings) -> AsyncIterator[Market | None]:
    """The market that MARKET_SOURCE names, closed at the end; None for `none`."""
    market = SOURCES[settings.market_source](settings)
    try:
        yield market
    finally:
        if market:
            await market.close()
