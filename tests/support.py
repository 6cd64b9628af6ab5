"""What many tests need: the clone's folder, a condition to wait for, the processes, the variables for a market."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socketserver import BaseServer
from typing import TypeVar

from nats.aio.client import Client

from crypto_updates.harness import condition
from crypto_updates.harness.market import Market

ROOT = Path(__file__).parents[1]
# A deadline is for hangs, not for slow machines.
HANG_SECONDS = 60.0
T = TypeVar("T")


def eventually(holds: Callable[[], T], within: float = HANG_SECONDS) -> T:
    """The first true answer of `holds`, or its last one when `within` seconds are over."""
    return condition.outcome(holds, within)


async def soon(holds: Callable[[], T], within: float = HANG_SECONDS) -> T:
    return await asyncio.to_thread(eventually, holds, within)


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """The server answers from a thread of its own."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


async def settled(client: Client) -> None:
    """Return when the server has read all that the client sent, and the client all that the server sent until then.

    nats-py sends the PING of a flush ahead of what was subscribed or published before it, hence two.
    """
    for _ in range(2):
        await client.flush(5)


def just_passed() -> str:
    """A schedule of one slot a day, which was less than a minute ago: the market's prices of now are its own."""
    return f"{datetime.now(UTC):%M %H} * * *"


def asking(market: Market, worker: str = "worker") -> dict[str, str]:
    """The variables of a worker that asks CoinGecko for one coin at this market."""
    return market.env(worker) | {"COINS": "bitcoin", "OUTBOX_DIR": f"outbox{worker}"}


def asking_both(market: Market) -> dict[str, str]:
    """The variables of a worker that asks DefiLlama, too."""
    return asking(market) | {"MARKET_FALLBACK": "defillama"}


def asked(market: Market) -> list[str]:
    """The workers that asked CoinGecko."""
    return [request.path.split("/")[1] for request in market.requests if request.path.endswith("/coins/markets")]


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
