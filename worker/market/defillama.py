"""Quotes from DefiLlama's coins API, which knows the past. It needs no key, and its ids are CoinGecko's."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import msgspec

from crypto_updates.bus.event import Quote, text
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import interval, is_past
from worker.market.answer import named, printable
from worker.market.client import RETRY_SECONDS, Client, Peer
from worker.market.errors import MarketError
from worker.market.network import DIRECT, Network
from worker.market.source import Part, Source

log = logging.getLogger(__name__)

CURRENCY = "usd"
_URL = "https://coins.llama.fi"
# The ids stand in the path.
_COINS_PER_REQUEST = 100
_PREFIX = "coingecko:"
# How old a current price may be.
_CURRENT_WIDTH = "4h"
# The change in percent is worth so much of the time that is left for a request, and no more.
_CHANGE_SHARE, _MAX_CHANGE_SECONDS = 0.5, 10.0
HINTS = dict.fromkeys((301, 302, 303, 307, 308), "redirects are not followed: check DEFILLAMA_URL")

T = TypeVar("T")


class _Price(msgspec.Struct):
    """What we read of a coin. `timestamp`: the point's time, in seconds since 1970."""

    price: float
    symbol: str
    timestamp: float


class _Answer(msgspec.Struct, Generic[T]):
    """Each coin by its id. A coin that DefiLlama does not know is absent."""

    coins: dict[str, T]


_prices = msgspec.json.Decoder(_Answer[msgspec.Raw])
_price = msgspec.json.Decoder(_Price)
_changes = msgspec.json.Decoder(_Answer[Any])


class DefiLlama(Source):
    """The prices of a slot that is past are of its own instant: no later than half the interval away, else none."""

    name = "defillama"
    title = "DefiLlama"
    knows_past = True
    coins_per_request = _COINS_PER_REQUEST

    def __init__(
        self,
        *,
        coins: tuple[str, ...],
        cron: Cron,
        url: str | None = None,
        network: Network = DIRECT,
        waits: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        super().__init__(Client(Peer(self.name, self.title, HINTS), url or _URL, network=network, waits=waits), coins)
        self._cron = cron

    async def _ask(self, coins: Sequence[str], slot: datetime, deadline: float) -> list[Quote]:
        ids = ",".join(quote(f"{_PREFIX}{coin}", safe=":") for coin in coins)
        if not is_past(self._cron, slot, datetime.now(UTC)):
            part = await self._client.get(f"prices/current/{ids}", {"searchWidth": _CURRENT_WIDTH}, read, deadline)
            self._tell(coins, part)
            return await self._with_changes(part.quotes, ids, None, deadline)
        width = interval(self._cron, slot) / 2
        params = {"searchWidth": str(max(1, int(width.total_seconds())))}
        part = await self._client.get(f"prices/historical/{int(slot.timestamp())}/{ids}", params, read, deadline)
        near = [found for found in part.quotes if _is_near(found, slot, width)]
        return await self._with_changes(near, ids, slot, deadline)

    def _nothing(self, asked: Sequence[str], slot: datetime) -> str:
        if not is_past(self._cron, slot, datetime.now(UTC)):
            return super()._nothing(asked, slot)
        seconds = interval(self._cron, slot).total_seconds() / 2
        return f"DefiLlama has no price within {seconds:g} s of {text(slot)} of {named(asked)}"

    async def _with_changes(self, quotes: list[Quote], ids: str, slot: datetime | None, deadline: float) -> list[Quote]:
        """The quotes with their change in 24 hours, or without when that cannot be had: it must not cost the prices."""
        if not quotes:
            return quotes
        now = asyncio.get_running_loop().time()
        end = now + min(_CHANGE_SHARE * (deadline - now), _MAX_CHANGE_SECONDS)
        params = {"period": "24h", "lookForward": "false"}
        if slot:
            params["timestamp"] = str(int(slot.timestamp()))
        try:
            async with asyncio.timeout_at(end):
                changes = await self._client.get(f"percentage/{ids}", params, _changes.decode, end)
        except (MarketError, TimeoutError) as error:
            log.info("[MARKET] No changes in 24 hours: %s", str(error) or "DefiLlama gave no answer in time")
            return quotes
        return [
            msgspec.structs.replace(found, change_24h=_number(changes.coins.get(f"{_PREFIX}{found.coin}")))
            for found in quotes
        ]


def read(body: bytes) -> Part:
    """The quotes of a 200 answer. Raises ValueError or RecursionError if it has no coins."""
    part = Part([], {})
    for key, item in _prices.decode(body).coins.items():
        coin = key.removeprefix(_PREFIX)
        try:
            part.quotes.append(_quote(coin, _price.decode(item)))
        except (ValueError, OverflowError, OSError) as error:
            part.odd[coin] = printable(str(error))
    return part


def _quote(coin: str, price: _Price) -> Quote:
    return Quote(
        coin=coin,
        symbol=price.symbol.lower(),
        price=price.price,
        market_cap=None,
        change_24h=None,
        currency=CURRENCY,
        updated_at=datetime.fromtimestamp(price.timestamp, UTC),
    )


def _is_near(found: Quote, slot: datetime, width: timedelta) -> bool:
    return found.updated_at is not None and abs(found.updated_at - slot) <= width


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
