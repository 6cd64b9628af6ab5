"""CoinGecko and DefiLlama on loopback."""

import contextlib
import json
import threading
import time
from collections.abc import Container
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


class Market:
    """CoinGecko and DefiLlama on loopback, which know each coin, or only those in `known`.

    CoinGecko answers after `delay` seconds, or never (None). DefiLlama has a point for each second, with the price
    that `price_at` tells. `asked`: the workers that asked CoinGecko, as their URLs name them. `times`: when they did,
    in seconds.
    """

    def __init__(self, delay: float | None = 0.0, known: Container[str] | None = None) -> None:
        self.delay = delay
        self.known = known
        self.asked: list[str] = []
        self.times: list[float] = []
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"market": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def reset(self) -> None:
        """Answer as at the beginning."""
        self.asked.clear()
        self.times.clear()

    def market(self, worker: str = "worker") -> dict[str, str]:
        """The variables of a worker that asks CoinGecko here."""
        own = {"MARKET_SOURCE": "coingecko", "COINGECKO_URL": f"{self.url}/{worker}", "COINS": "bitcoin"}
        return own | {"MARKET_FALLBACK": "none", "OUTBOX_DIR": f"outbox{worker}"}

    def both(self) -> dict[str, str]:
        """The variables of a worker that asks both."""
        return self.market() | {"MARKET_FALLBACK": "defillama", "DEFILLAMA_URL": self.url}

    def answer(self, path: str) -> tuple[int, bytes]:
        """Take note of the request, and wait until it is to be answered. Status and body."""
        url = urlsplit(path)
        if not url.path.endswith("/coins/markets"):
            return self.defillama(*map(unquote, url.path.strip("/").split("/")))
        self.asked.append(path.split("/")[1])
        self.times.append(time.time())
        self._closed.wait(self.delay)
        return self.coingecko(parse_qs(url.query)["ids"][0].split(","))

    def coingecko(self, coins: list[str]) -> tuple[int, bytes]:
        quote = {"symbol": "btc", "current_price": 1.5, "market_cap": None, "price_change_percentage_24h": None}
        updated = datetime.now(UTC).isoformat(timespec="milliseconds")
        quotes = [quote | {"id": coin, "last_updated": updated} for coin in coins if coin in (self.known or coins)]
        return 200, json.dumps(quotes).encode()

    def defillama(self, kind: str, *place: str) -> tuple[int, bytes]:
        ids = place[-1].split(",")
        if kind == "percentage":
            return 200, json.dumps({"coins": dict.fromkeys(ids, -1.25)}).encode()
        at = int(place[1]) if place[0] == "historical" else int(time.time())
        point = {"symbol": "BTC", "price": self.price_at(at), "timestamp": at, "confidence": 0.99}
        return 200, json.dumps({"coins": dict.fromkeys(ids, point)}).encode()

    @staticmethod
    def price_at(second: int) -> float:
        return 1_000 + second % 3600 + 0.5


class _Handler(BaseHTTPRequestHandler):
    market: Market

    def do_GET(self) -> None:
        status, body = self.market.answer(self.path)
        with contextlib.suppress(ConnectionError):  # a worker that was stopped has hung up
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no access log."""
