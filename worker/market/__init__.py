"""Where quotes come from: the sources behind MARKET_SOURCE. Nothing else in the worker makes HTTP calls out.

The HTTP client and what uses it are imported when they are opened: the sources without a network need no such memory.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Protocol

from pydantic import SecretStr

from crypto_updates.bus.event import Quote
from crypto_updates.clock.cron import Cron
from worker.market.errors import MarketError, TemporaryMarketError, UnknownCoinsError
from worker.market.network import Network
from worker.market.simulated import Simulated
from worker.market.terms import CURRENCY, Plan

__all__ = [
    "FALLBACKS",
    "OFFLINE",
    "SOURCES",
    "Market",
    "MarketError",
    "MarketSettings",
    "TemporaryMarketError",
    "UnknownCoinsError",
    "open_market",
]

log = logging.getLogger(__name__)


class MarketSettings(Protocol):
    """What a source is opened with. The worker's settings have it; they import the sources' names from here."""

    market_source: str
    market_fallback: str
    coins: tuple[str, ...]
    vs_currency: str
    coingecko_url: str | None
    coingecko_plan: Plan
    coingecko_api_key: SecretStr | None
    defillama_url: str | None

    @property
    def network(self) -> Network: ...

    @property
    def cron(self) -> Cron: ...


class Market(Protocol):
    """A source of quotes, or two. `name` goes into the event as the `source` of the quotes that do not say their own.

    `fetch` gives the quotes of now, whichever the slot is. `past` is the market for the slots that are past. It is None
    if the source knows only the present.
    """

    @property
    def name(self) -> str: ...

    @property
    def past(self) -> "Market | None": ...

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        """The quotes for `slot`, in the order of COINS, within `budget` seconds with all retries and waits.

        Coins that the source does not give are left out. Raises MarketError if there is no quote at all.
        """
        ...

    async def close(self) -> None: ...


def _coingecko(settings: MarketSettings) -> Market:
    from worker.market.coingecko import CoinGecko  # noqa: PLC0415 - it has the HTTP client

    return CoinGecko(
        coins=settings.coins,
        currency=settings.vs_currency,
        url=settings.coingecko_url,
        plan=settings.coingecko_plan,
        api_key=settings.coingecko_api_key.get_secret_value() if settings.coingecko_api_key else None,
        network=settings.network,
    )


def _defillama(settings: MarketSettings) -> Market:
    from worker.market.defillama import DefiLlama  # noqa: PLC0415 - it has the HTTP client

    return DefiLlama(coins=settings.coins, cron=settings.cron, url=settings.defillama_url, network=settings.network)


# The values of MARKET_SOURCE and MARKET_FALLBACK, and what each opens. `none` means that the event goes without data.
SOURCES: dict[str, Callable[[MarketSettings], Market | None]] = {
    "coingecko": _coingecko,
    "defillama": _defillama,
    "simulated": lambda settings: Simulated(coins=settings.coins, currency=settings.vs_currency),
    "none": lambda _: None,
}
# Those that ask nobody.
OFFLINE = {"simulated", "none"}
# Those that MARKET_FALLBACK may name.
FALLBACKS = ("defillama", "none")


@contextlib.asynccontextmanager
async def open_market(settings: MarketSettings) -> AsyncIterator[Market | None]:
    """The market of MARKET_SOURCE and MARKET_FALLBACK, closed at the end; None for MARKET_SOURCE=none."""
    market = _market(settings)
    try:
        yield market
    finally:
        if market:
            await market.close()


def _market(settings: MarketSettings) -> Market | None:
    first = SOURCES[settings.market_source](settings)
    # A market without a network cannot fail.
    if settings.market_source in OFFLINE:
        return first
    from worker.market.fallback import Fallback  # noqa: PLC0415 - it has the HTTP client
    from worker.market.source import Source  # noqa: PLC0415 - the same

    if not isinstance(first, Source) or settings.market_fallback in {first.name, "none"}:
        return first
    if settings.vs_currency != CURRENCY:
        log.warning(
            "[MARKET] MARKET_FALLBACK=%s is not used: its prices are in US dollars, and VS_CURRENCY is %s",
            *(settings.market_fallback, settings.vs_currency),
        )
        return first
    second = SOURCES[settings.market_fallback](settings)
    return Fallback(first, second, settings.coins) if isinstance(second, Source) else first
