"""What many tests need: the clone's folder, a condition to wait for, the processes, a market on loopback."""

import asyncio
import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self, TypeVar

from nats.aio.client import Client

ROOT = Path(__file__).parents[1]
# A deadline is for hangs, not for slow machines.
HANG_SECONDS = 60.0
T = TypeVar("T")


def eventually(holds: Callable[[], T], within: float = HANG_SECONDS) -> T:
    """The first true answer of `holds`, or its last one when `within` seconds are over."""
    deadline = time.monotonic() + within
    while not (answer := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


async def soon(holds: Callable[[], T], within: float = HANG_SECONDS) -> T:
    return await asyncio.to_thread(eventually, holds, within)


async def settled(client: Client) -> None:
    """Return when the server has read all that the client sent, and the client all that the server sent until then.

    nats-py sends the PING of a flush ahead of what was subscribed or published before it, hence two.
    """
    for _ in range(2):
        await client.flush(5)


def processes() -> dict[int, int]:
    """Each process that runs, and its parent. A process that has ended and was not waited for does not run."""
    if not Path("/proc/self/stat").exists():  # macOS
        table = subprocess.run(["ps", "-axo", "pid=,stat=,ppid="], capture_output=True, text=True, check=True).stdout
        return _running(table.splitlines())
    rows = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            pid, _, rest = path.read_text(encoding="utf-8", errors="replace").partition(" ")
            rows.append(f"{pid} {rest.rpartition(') ')[2]}")
    return _running(rows)


def _running(rows: Iterable[str]) -> dict[int, int]:
    """Of rows that begin with id, state and parent."""
    fields = (row.split() for row in rows)
    return {int(pid): int(parent) for pid, state, parent, *_ in fields if not state.startswith("Z")}


class FakeMarket:
    """CoinGecko on loopback, with a quote of bitcoin for everyone. It answers after `delay` seconds, or never (None).

    `asked`: the workers that asked, as their URLs name them. `times`: when they did, in seconds.
    """

    def __init__(self, delay: float | None = 0.0) -> None:
        self.delay = delay
        self.asked: list[str] = []
        self.times: list[float] = []
        self._closed = threading.Event()

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"market": self}))
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._server.shutdown()
        self._server.server_close()

    def market(self, worker: str = "worker") -> dict[str, str]:
        """The variables of a worker that asks here."""
        url = f"http://127.0.0.1:{self._server.server_port}/{worker}"
        return {"MARKET_SOURCE": "coingecko", "COINGECKO_URL": url, "COINS": "bitcoin", "OUTBOX_DIR": f"outbox{worker}"}

    def answer(self, path: str) -> bytes:
        """Take note of the request, and wait until it is to be answered."""
        self.asked.append(path.split("/")[1])
        self.times.append(time.time())
        self._closed.wait(self.delay)
        quote = {"id": "bitcoin", "symbol": "btc", "current_price": 1.5, "market_cap": None, "last_updated": None}
        return json.dumps([quote | {"price_change_percentage_24h": None}]).encode()


class _Handler(BaseHTTPRequestHandler):
    market: FakeMarket

    def do_GET(self) -> None:
        body = self.market.answer(self.path)
        with contextlib.suppress(ConnectionError):  # a worker that was stopped has hung up
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no access log."""
