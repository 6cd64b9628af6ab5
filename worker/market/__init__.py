"""Where quotes come from: the sources behind MARKET_SOURCE. Nothing else in the worker makes HTTP calls out."""

import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol

from pydantic import SecretStr

from crypto_updates.bus.event import Quote
from worker.market.coingecko import CoinGecko, Plan
from worker.market.errors import MarketError, TemporaryMarketError
from worker.market.network import Network
from worker.market.simulated import Simulated

__all__ = ["SOURCES", "Market", "MarketError", "MarketSettings", "TemporaryMarketError", "open_market"]


class MarketSettings(Protocol):
    """What a source is opened with. The worker's settings have it; they import the sources' names from here."""

    market_source: str
    coins: tuple[str, ...]
    vs_currency: str
    coingecko_url: str | None
    coingecko_plan: Plan
    coingecko_api_key: SecretStr | None

    @property
    def network(self) -> Network: ...


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


def _coingecko(settings: MarketSettings) -> Market:
    return CoinGecko(
        coins=settings.coins,
        currency=settings.vs_currency,
        url=settings.coingecko_url,
        plan=settings.coingecko_plan,
        api_key=settings.coingecko_api_key.get_secret_value() if settings.coingecko_api_key else None,
        network=settings.network,
    )


# The values of MARKET_SOURCE, and what each opens. `none` means that the event goes without data.
SOURCES: dict[str, Callable[[MarketSettings], Market | None]] = {
    "coingecko": _coingecko,
    "simulated": lambda settings: Simulated(coins=settings.coins, currency=settings.vs_currency),
    "none": lambda _: None,
}


@contextlib.asynccontextmanager
async def open_market(settings: MarketSettings) -> AsyncIterator[Market | None]:
    """The market that MARKET_SOURCE names, closed at the end; None for `none`."""
    market = SOURCES[settings.market_source](settings)
    try:
        yield market
    finally:
        if market:
            await market.close()
