"""Asks one source over HTTP, with bounds on time, retries and bytes."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, TypeVar

import httpx
from socksio import SOCKSError

from crypto_updates import __version__
from worker.market import answer
from worker.market.errors import MarketError, TemporaryMarketError, UnreachableSourceError
from worker.market.network import Network
from worker.metrics import REQUESTS

log = logging.getLogger(__name__)

# 250 coins take about 200 kB.
MAX_BYTES = 5_000_000
# The longest wait before each retry, more of them than any budget has time for. At random a wait is as little as half
# of that, so that workers do not retry in step.
RETRY_SECONDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 10)
TIMEOUT = httpx.Timeout(10.0, connect=5.0)
# Without a network, an event must not wait for minutes only to go without data.
MAX_CONNECTING_SECONDS = 10.0
UNREACHABLE = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, SOCKSError)

T = TypeVar("T")


class Peer(NamedTuple):
    """Who is asked. `name` is for metrics, `title` for people; `hints`: the setting to check, by code or status."""

    name: str
    title: str
    hints: Mapping[int, str]


class Client:
    """One HTTP client for the market's life. `waits`: the longest wait in seconds before each retry.

    `headers` may have a secret, which no log line shows.
    """

    def __init__(
        self,
        peer: Peer,
        url: str,
        *,
        network: Network,
        headers: Mapping[str, str] | None = None,
        secret: str | None = None,
        waits: Sequence[float] = RETRY_SECONDS,
    ) -> None:
        self._peer = peer
        self._secret = secret
        self._waits = waits
        base = httpx.URL(url)
        proxy = network.proxy(base)
        self._place = f"{base.host} through {proxy.url.scheme}://{proxy.url.netloc.decode()}" if proxy else base.host
        self._open = partial(_client, base, network, headers or {})
        self._http: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """Made for the first request: a source that is never asked needs no certificates in memory."""
        self._http = self._http or self._open()
        return self._http

    async def close(self) -> None:
        if self._http:
            await self._http.aclose()

    async def get(self, path: str, params: Mapping[str, str], read: Callable[[bytes], T], deadline: float) -> T:
        """What `read` makes of a 200 answer, with retries that end before `deadline`, on the event loop's clock.

        `read` raises ValueError for a body that it cannot read: HTML, or half a body. Raises MarketError.
        """
        now = asyncio.get_running_loop().time
        connected_by = now() + MAX_CONNECTING_SECONDS
        for pause in self._waits:
            try:
                return await self._try(path, params, read)
            except TemporaryMarketError as error:
                end = min(deadline, connected_by) if isinstance(error, UnreachableSourceError) else deadline
                wait = _wait(error, pause, end - now())
                log.info("[MARKET] %s; retrying in %.1f s", error, wait)
            await asyncio.sleep(wait)
        return await self._try(path, params, read)

    async def _try(self, path: str, params: Mapping[str, str], read: Callable[[bytes], T]) -> T:
        response, body = await self._request(path, params)
        if response.status_code != httpx.codes.OK:
            raise self._failure(response, body)
        try:
            return read(body)
        except (ValueError, OverflowError, RecursionError) as error:
            problem = answer.printable(str(error))
            raise TemporaryMarketError(f"{self._peer.title}'s answer cannot be read: {problem}") from error

    async def _request(self, path: str, params: Mapping[str, str]) -> tuple[httpx.Response, bytes]:
        status = "error"
        try:
            async with self.http.stream("GET", path, params=params) as response:
                body = await self._read(response)
            status = _label(response.status_code)
        except asyncio.CancelledError:  # by the end of the budget
            status = "timeout"
            raise
        except (httpx.HTTPError, httpx.InvalidURL, SOCKSError) as error:
            status = "timeout" if isinstance(error, httpx.TimeoutException) else "error"
            reason = answer.printable(f"{type(error).__name__} {error}".rstrip())
            kind = UnreachableSourceError if isinstance(error, UNREACHABLE) else TemporaryMarketError
            raise kind(f"{self._peer.title} at {self._place} failed: {reason}") from error
        finally:
            REQUESTS.labels(self._peer.name, status).inc()
        return response, body

    async def _read(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > MAX_BYTES:
                raise MarketError(
                    f"{self._peer.title} answered {response.status_code} with more than {MAX_BYTES:,} bytes"
                )
        return bytes(body)

    def _failure(self, response: httpx.Response, body: bytes) -> MarketError:
        status = response.status_code
        retry_after = answer.seconds(response.headers.get("retry-after"), datetime.now(UTC))
        # A server may repeat the key in its error.
        safe = body.replace(self._secret.encode(), b"***") if self._secret else body
        problem = answer.problem(self._peer.title, status, safe, retry_after, self._peer.hints)
        if status == httpx.codes.TOO_MANY_REQUESTS or response.is_server_error:
            return TemporaryMarketError(problem, retry_after)
        return MarketError(problem)


def _client(base: httpx.URL, network: Network, headers: Mapping[str, str]) -> httpx.AsyncClient:
    """The client. httpx logs each URL, so user and password are taken out of it and sent as a header."""
    return httpx.AsyncClient(
        base_url=base.copy_with(userinfo=b""),
        # Ask for no compression: a compressed answer could unpack to any size before its length is known.
        headers={"user-agent": f"crypto-updates/{__version__}", "accept-encoding": "identity", **headers},
        auth=httpx.BasicAuth(base.username, base.password) if base.userinfo else None,
        timeout=TIMEOUT,
        trust_env=False,
        proxy=network.proxy(base),
        verify=network.context(),
    )


def _label(status: int) -> str:
    """The status as a label. One that no standard names is counted by its class, so that there is a bound."""
    return str(status) if httpx.codes.get_reason_phrase(status) else f"{status // 100}xx"


def _wait(error: TemporaryMarketError, pause: float, left: float) -> float:
    """Seconds until the next try. Raises the error with them at once when no time is left for it."""
    wait = (error.retry_after or 0.0) + pause * random.uniform(0.5, 1)  # noqa: S311 - jitter is no secret
    if wait < left:
        return wait
    if isinstance(error, UnreachableSourceError):
        raise UnreachableSourceError(str(error), wait) from error
    late = f"{error}; the next try in {wait:.1f} s would be too late, {left:.1f} s are left"
    raise TemporaryMarketError(late, wait) from error
