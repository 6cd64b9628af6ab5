"""CoinGecko and DefiLlama on loopback, at any path ahead of their own."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from crypto_updates.harness import coingecko
from crypto_updates.harness.seen import Seen

_PRICES = {"bitcoin": 41234.5, "ethereum": 2250.25, "matic-network": 0.85, "polygon-ecosystem-token": 0.5}
# DefiLlama's: https://defillama.com/docs/api
_DEFILLAMA = ("prices", "percentage")
_LOOK_SECONDS = 0.02


class Request(NamedTuple):
    """`at` is by time.monotonic()."""

    path: str
    query: dict[str, str]
    at: float


def utc_now() -> datetime:
    return datetime.now(UTC)


class Market:
    """A market that knows each coin, as it is used in a `with` statement. `requests`: what it was asked.

    `prices`: by CoinGecko's id; None makes the coin unknown. CoinGecko answers with `status`, after `delay` seconds, or
    never (None), and with `body` if there is one. DefiLlama has a point for each second, whose price `price_at` tells.
    """

    def __init__(
        self,
        delay: float | None = 0.0,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`host`: the address to listen on. `clock`: the time of its prices, for a worker with another clock."""
        self.port = port
        self._clock = clock
        self._host = host
        self.requests = Seen[Request]("requests to the market")
        self._closed = threading.Event()
        self._first_delay = delay
        self.reset()

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"market": self})
        self._server = _Server((self._host, self.port), handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def env(self, worker: str = "worker") -> dict[str, str]:
        """The variables of a worker of ours that asks CoinGecko here, under a path of its name."""
        return {
            "MARKET_SOURCE": "coingecko",
            "MARKET_FALLBACK": "none",
            "COINGECKO_URL": f"{self.url}/{worker}",
            "DEFILLAMA_URL": self.url,
        }

    def reset(self) -> None:
        """Answer as at the beginning, and forget what was asked."""
        self.prices: dict[str, float | None] = dict(_PRICES)
        self.status: int = HTTPStatus.OK
        self.delay = self._first_delay
        self.body: bytes | None = None
        self.requests.clear()

    def answer(self, request: Request) -> tuple[int, bytes]:
        """Status and body, as soon as it is time."""
        parts = [unquote(part) for part in request.path.split("/")]
        for number, part in enumerate(parts):
            if part in coingecko.ROOTS:
                while not self._is_due(request):
                    self._closed.wait(_LOOK_SECONDS)
                return self.coingecko(request, parts[number:])
            if part in _DEFILLAMA:
                return HTTPStatus.OK, self._defillama(*parts[number:])
        return HTTPStatus.NOT_FOUND, b"{}"

    def coingecko(self, request: Request, path: Sequence[str]) -> tuple[int, bytes]:
        status, found = coingecko.answer(path, request.query, self.prices, self._clock())
        if self.status != HTTPStatus.OK:
            status, found = self.status, coingecko.error(self.status)
        return status, json.dumps(found).encode() if self.body is None else self.body

    @staticmethod
    def price_at(second: int) -> float:
        return 1_000 + second % 3600 + 0.5

    def _is_due(self, request: Request) -> bool:
        late = self.delay is not None and time.monotonic() - request.at >= self.delay
        return late or self._closed.is_set()

    def _defillama(self, kind: str, *place: str) -> bytes:
        ids = place[-1].split(",")
        if kind == "percentage":
            return json.dumps({"coins": dict.fromkeys(ids, -1.25)}).encode()
        at = int(place[1]) if place[0] == "historical" else int(self._clock().timestamp())
        point = {"symbol": "BTC", "price": self.price_at(at), "timestamp": at, "confidence": 0.99}
        return json.dumps({"coins": dict.fromkeys(ids, point)}).encode()


class _Server(ThreadingHTTPServer):
    # A burst of events is a burst of requests; with the default, 5, many of them would wait for seconds.
    request_queue_size = 1024


class _Handler(BaseHTTPRequestHandler):
    market: Market

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        request = Request(url.path, dict(parse_qsl(url.query)), time.monotonic())
        self.market.requests.add(request)
        status, body = self.market.answer(request)
        with contextlib.suppress(ConnectionError):  # a client that was stopped has hung up
            self.send_response(status)
            self.send_header("Content-Type", "text/html" if body.startswith(b"<") else "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no access log."""
