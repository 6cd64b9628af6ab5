"""Quotes from CoinGecko's /coins/markets."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import msgspec

from crypto_updates.bus.event import Quote
from worker.market.answer import Number, decode, printable, symbol
from worker.market.client import RETRY_SECONDS, Client, Peer
from worker.market.network import DIRECT, Network
from worker.market.source import Part, Source
from worker.market.terms import Plan

log = logging.getLogger(__name__)

_PUBLIC = "https://api.coingecko.com/api/v3"
_PRO = "https://pro-api.coingecko.com/api/v3"
_KEY_HEADERS = {"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"}
# CoinGecko's limit on per_page: https://docs.coingecko.com/reference/coins-markets
_COINS_PER_REQUEST = 250
# CoinGecko's own codes: https://docs.coingecko.com/docs/errors-and-rate-limits
HINTS = {
    10002: "set COINGECKO_API_KEY to a key of COINGECKO_PLAN",
    10005: "COINGECKO_PLAN does not include this",
    10010: "check COINGECKO_API_KEY; a pro key needs COINGECKO_PLAN=pro",
    10011: "check COINGECKO_API_KEY; a demo key needs COINGECKO_PLAN=demo",
    10012: "COINGECKO_PLAN does not include a history that long; MARKET_FALLBACK=defillama needs no plan",
    401: "check COINGECKO_API_KEY",
    403: "check COINGECKO_PLAN and COINGECKO_API_KEY, or the address of this machine is blocked",
    **dict.fromkeys((301, 302, 303, 307, 308), "redirects are not followed: check COINGECKO_URL"),
}


class _Coin(msgspec.Struct):
    """The fields that we read of an item of /coins/markets. Some may be null, none may be missing."""

    id: str
    symbol: str
    current_price: Number | None
    market_cap: Number | None
    price_change_percentage_24h: Number | None
    last_updated: Annotated[datetime, msgspec.Meta(tz=True)] | None


class CoinGecko(Source):
    name = "coingecko"
    title = "CoinGecko"
    coins_per_request = _COINS_PER_REQUEST

    def __init__(
        self,
        *,
        coins: tuple[str, ...],
        currency: str,
        url: str | None = None,
        plan: Plan = "public",
        api_key: str | None = None,
        network: Network = DIRECT,
        waits: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        if api_key and plan == "public":
            log.warning("[MARKET] COINGECKO_API_KEY is not used: COINGECKO_PLAN is public, not demo or pro")
        client = Client(
            Peer(self.name, self.title, HINTS),
            url or (_PRO if plan == "pro" else _PUBLIC),
            network=network,
            headers={_KEY_HEADERS[plan]: api_key} if api_key and plan in _KEY_HEADERS else {},
            secret=api_key,
            waits=waits,
        )
        super().__init__(client, coins)
        self._currency = currency

    async def _request(self, coins: Sequence[str], slot: datetime, deadline: float) -> Part:  # noqa: ARG002 - it knows only now
        params = {"vs_currency": self._currency, "ids": ",".join(coins), "per_page": str(_COINS_PER_REQUEST)}
        return await self._client.get("coins/markets", params, partial(read, currency=self._currency), deadline)


def read(body: bytes, currency: str) -> Part:
    """The quotes of a 200 answer. Raises ValueError or RecursionError if it is no list."""
    part = Part([], {})
    for item in msgspec.convert(decode(body), list[Any]):
        try:
            part.quotes.append(_quote(msgspec.convert(item, _Coin), currency))
        except (ValueError, OverflowError) as error:
            part.odd[_name(item)] = printable(str(error))
    return part


def _quote(coin: _Coin, currency: str) -> Quote:
    return Quote(
        coin=coin.id,
        symbol=symbol(coin.symbol),
        price=coin.current_price,
        market_cap=coin.market_cap or None,  # 0 stands for unknown
        change_24h=coin.price_change_percentage_24h,
        currency=currency,
        updated_at=coin.last_updated and coin.last_updated.astimezone(UTC),
    )


def _name(item: object) -> str:
    name = item.get("id") if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""
