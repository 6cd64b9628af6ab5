"""Quotes from CoinGecko's /coins/markets, with bounds on time, retries and bytes."""

import asyncio
import logging
import random
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

import httpx
from socksio import SOCKSError

from crypto_updates import __version__
from crypto_updates.bus.event import Quote
from worker.market import answer
from worker.market.errors import MarketError, TemporaryMarketError
from worker.market.network import DIRECT, Network

log = logging.getLogger(__name__)

Plan = Literal["public", "demo", "pro"]

_PUBLIC = "https://api.coingecko.com/api/v3"
_PRO = "https://pro-api.coingecko.com/api/v3"
_KEY_HEADERS = {"demo": "x-cg-demo-api-key", "pro": "x-cg-pro-api-key"}
# CoinGecko's limit on per_page: https://docs.coingecko.com/reference/coins-markets
_COINS_PER_REQUEST = 250
# 250 coins take about 200 kB.
_MAX_BYTES = 5_000_000
# The longest wait before each retry. At random it is as little as half of that, so that workers do not retry in step.
_RETRY_SECONDS = (1.0, 2.0, 4.0)
_TIMEOUT = httpx.Timeout(10.0, connect=5.0)


class CoinGecko:
    """One HTTP client for the market's life. `waits`: the longest wait in seconds before each retry."""

    name = "coingecko"
    knows_past = False

    def __init__(
        self,
        *,
        coins: tuple[str, ...],
        currency: str,
        url: str | None = None,
        plan: Plan = "public",
        api_key: str | None = None,
        network: Network = DIRECT,
        waits: Sequence[float] = _RETRY_SECONDS,
    ) -> None:
        self._coins = coins
        self._currency = currency
        self._key = api_key
        self._waits = waits
        self._unknown: tuple[str, ...] = ()
        base = httpx.URL(url or (_PRO if plan == "pro" else _PUBLIC))
        proxy = network.proxy(base)
        self._place = f"{base.host} through {proxy.url.scheme}://{proxy.url.netloc.decode()}" if proxy else base.host
        self._client = _client(base, plan, api_key, network)

    async def close(self) -> None:
        await self._client.aclose()

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:  # noqa: ARG002 - it knows only now
        """The quotes of now. One request after the other, because CoinGecko limits the requests in a minute."""
        deadline = asyncio.get_running_loop().time() + budget
        requests = [self._coins[i : i + _COINS_PER_REQUEST] for i in range(0, len(self._coins), _COINS_PER_REQUEST)]
        try:
            async with asyncio.timeout_at(deadline):
                found = [quote for coins in requests for quote in await self._ask(coins, deadline)]
        except TimeoutError as error:
            raise MarketError(f"CoinGecko gave no whole answer within {budget:g} s") from error
        return self._wanted(found)

    async def _ask(self, coins: tuple[str, ...], deadline: float) -> list[Quote]:
        for pause in self._waits:
            try:
                return await self._get(coins)
            except TemporaryMarketError as error:
                wait = _wait(error, pause, deadline - asyncio.get_running_loop().time())
                log.info("[MARKET] %s; retrying in %.1f s", error, wait)
            await asyncio.sleep(wait)
        return await self._get(coins)

    async def _get(self, coins: tuple[str, ...]) -> list[Quote]:
        params = {"vs_currency": self._currency, "ids": ",".join(coins), "per_page": str(_COINS_PER_REQUEST)}
        try:
            async with self._client.stream("GET", "coins/markets", params=params) as response:
                body = await _read(response)
        except (httpx.TransportError, SOCKSError) as error:
            reason = f"{type(error).__name__} {error}".rstrip()
            raise TemporaryMarketError(f"CoinGecko at {self._place} failed: {reason}") from error
        if response.status_code == httpx.codes.OK:
            return answer.quotes(body, self._currency)
        raise self._failure(response, body)

    def _failure(self, response: httpx.Response, body: bytes) -> MarketError:
        status = response.status_code
        retry_after = answer.seconds(response.headers.get("retry-after"), datetime.now(UTC))
        # A server may repeat the key in its error.
        safe = body.replace(self._key.encode(), b"***") if self._key else body
        problem = answer.problem(status, safe, retry_after)
        if status == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            return TemporaryMarketError(problem, retry_after)
        return MarketError(problem)

    def _wanted(self, found: list[Quote]) -> tuple[Quote, ...]:
        """The quotes in the order of COINS. When the coins that CoinGecko does not know change, that is logged once."""
        quotes = {quote.coin: quote for quote in found}
        unknown = tuple(coin for coin in self._coins if coin not in quotes)
        if unknown == self._coins:
            raise MarketError(f"COINS: CoinGecko knows none of {_named(unknown)}")
        if unknown and unknown != self._unknown:
            log.warning("[MARKET] COINS: not known to CoinGecko and left out: %s", _named(unknown))
        self._unknown = unknown
        return tuple(quotes[coin] for coin in self._coins if coin in quotes)


def _client(base: httpx.URL, plan: Plan, key: str | None, network: Network) -> httpx.AsyncClient:
    """The client. httpx logs each URL, so user and password are taken out of it and sent as a header."""
    auth = httpx.BasicAuth(base.username, base.password) if base.userinfo else None
    # Ask for no compression: a compressed answer could unpack to any size before its length is known.
    headers = {"user-agent": f"crypto-updates/{__version__}", "accept-encoding": "identity"}
    if key and plan == "public":
        log.warning("[MARKET] COINGECKO_API_KEY is not used: COINGECKO_PLAN is public, not demo or pro")
    elif key:
        headers[_KEY_HEADERS[plan]] = key
    return httpx.AsyncClient(
        base_url=base.copy_with(userinfo=b""),
        headers=headers,
        auth=auth,
        timeout=_TIMEOUT,
        trust_env=False,
        proxy=network.proxy(base),
        verify=network.context(),
    )


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > _MAX_BYTES:
            raise MarketError(f"CoinGecko answered {response.status_code} with more than {_MAX_BYTES:,} bytes")
    return bytes(body)


def _wait(error: TemporaryMarketError, pause: float, left: float) -> float:
    """Seconds until the next try. Raises MarketError at once when no time is left for it."""
    wait = (error.retry_after or 0.0) + pause * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret
    if wait >= left:
        raise MarketError(f"{error}; the next try in {wait:.1f} s would be too late, {left:.1f} s are left") from error
    return wait


def _named(coins: tuple[str, ...], most: int = 20) -> str:
    rest = f" and {len(coins) - most} more" if len(coins) > most else ""
    return ", ".join(coins[:most]) + rest
