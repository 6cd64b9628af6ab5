"""Quotes from DefiLlama's coins API, which knows the past. It needs no key, and its ids are CoinGecko's."""

import asyncio
import logging
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from crypto_updates.bus.event import Quote, text
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import interval
from worker.market.answer import Number, decode, named, printable, symbol
from worker.market.client import RETRY_SECONDS, Client, Peer
from worker.market.errors import MarketError
from worker.market.network import DIRECT, Network
from worker.market.source import Part, Source
from worker.market.terms import CURRENCY

log = logging.getLogger(__name__)

_NAME, _TITLE = "defillama", "DefiLlama"
_URL = "https://coins.llama.fi"
# The ids stand in the path.
_COINS_PER_REQUEST = 100
_PREFIX = "coingecko:"
# How old a current price may be.
_CURRENT_WIDTH = "4h"
# Of the time that is left for a request, how much the change in percent may take.
_CHANGE_SHARE, _MAX_CHANGE_SECONDS = 0.5, 10.0
HINTS = dict.fromkeys((301, 302, 303, 307, 308), "redirects are not followed: check DEFILLAMA_URL")


class _Point(msgspec.Struct):
    """What we read of a coin. `timestamp`: the point's time, in seconds since 1970."""

    price: Number
    symbol: str
    timestamp: float


class _Answer(msgspec.Struct):
    """Each coin by its id. A coin that DefiLlama does not know is absent."""

    coins: dict[str, Any]


class DefiLlama(Source):
    name = _NAME
    title = _TITLE
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
        client = Client(Peer(_NAME, _TITLE, HINTS), url or _URL, network=network, waits=waits)
        super().__init__(client, coins)
        self.past = Past(client, coins, cron)

    async def _request(self, coins: Sequence[str], slot: datetime, deadline: float) -> Part:  # noqa: ARG002 - the prices of now
        path = f"prices/current/{_ids(coins)}"
        part = await self._client.get(path, {"searchWidth": _CURRENT_WIDTH}, read, deadline)
        return await _with_changes(part, self._client, coins, {}, deadline)


class Past(Source):
    """Gives a past slot the prices of its own instant: at most half the interval away, else none."""

    name = _NAME
    title = _TITLE
    coins_per_request = _COINS_PER_REQUEST
    names_unknown = False

    def __init__(self, client: Client, coins: tuple[str, ...], cron: Cron) -> None:
        super().__init__(client, coins)
        self._cron = cron

    async def _request(self, coins: Sequence[str], slot: datetime, deadline: float) -> Part:
        second, width = int(slot.timestamp()), interval(self._cron, slot) / 2
        params = {"searchWidth": str(max(1, int(width.total_seconds())))}
        part = await self._client.get(f"prices/historical/{second}/{_ids(coins)}", params, read, deadline)
        near = [found for found in part.quotes if found.updated_at and abs(found.updated_at - slot) <= width]
        at = {"timestamp": str(second)}
        return await _with_changes(Part(near, part.odd), self._client, coins, at, deadline)

    def _nothing(self, asked: Sequence[str], slot: datetime) -> str:
        seconds = interval(self._cron, slot).total_seconds() / 2
        return f"{self.title} has no price within {seconds:g} s of {text(slot)} of {named(asked)}"


async def _with_changes(part: Part, client: Client, coins: Sequence[str], at: dict[str, str], deadline: float) -> Part:
    """The quotes with their change in 24 hours, or without when that cannot be had: it must not cost the prices."""
    if not part.quotes:
        return part
    now = asyncio.get_running_loop().time()
    end = now + min(_CHANGE_SHARE * (deadline - now), _MAX_CHANGE_SECONDS)
    params = {"period": "24h", "lookForward": "false", **at}
    try:
        async with asyncio.timeout_at(end):
            changes = await client.get(f"percentage/{_ids(coins)}", params, read_changes, end)
    except (MarketError, TimeoutError) as error:
        log.info("[MARKET] No changes in 24 hours: %s", str(error) or "DefiLlama gave no answer in time")
        return part
    quotes = [msgspec.structs.replace(found, change_24h=changes.get(found.coin)) for found in part.quotes]
    return Part(quotes, part.odd)


def _ids(coins: Sequence[str]) -> str:
    return ",".join(quote(f"{_PREFIX}{coin}", safe=":") for coin in coins)


def read(body: bytes) -> Part:
    """The quotes of a 200 answer. Raises ValueError or RecursionError if it has no coins."""
    part = Part([], {})
    for coin, item in _coins(body).items():
        try:
            part.quotes.append(_quote(coin, msgspec.convert(item, _Point)))
        except (ValueError, OverflowError, OSError) as error:
            part.odd[coin] = printable(str(error))
    return part


def read_changes(body: bytes) -> dict[str, float]:
    """The changes in percent that are numbers. Raises ValueError or RecursionError if the answer has no coins."""
    return {
        coin: change for coin, change in _coins(body).items() if isinstance(change, float) and math.isfinite(change)
    }


def _coins(body: bytes) -> dict[str, Any]:
    items = msgspec.convert(decode(body), _Answer).coins.items()
    return {key.removeprefix(_PREFIX): item for key, item in items}


def _quote(coin: str, point: _Point) -> Quote:
    return Quote(
        coin=coin,
        symbol=symbol(point.symbol).lower(),
        price=point.price or None,  # 0 stands for a coin that nobody trades
        market_cap=None,
        change_24h=None,
        currency=CURRENCY,
        updated_at=datetime.fromtimestamp(point.timestamp, UTC),
    )
