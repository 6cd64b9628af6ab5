"""What many tests need: the clone's folder, a condition to wait for, the processes, the variables for a market."""

import asyncio
import contextlib
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from socketserver import BaseServer
from typing import TypeVar

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo

from crypto_updates.bus.stream import STREAM
from crypto_updates.harness import condition
from crypto_updates.harness.market import Market

ROOT = Path(__file__).parents[1]
# A deadline is for hangs, not for slow machines.
HANG_SECONDS = 60.0
T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[int]:
    """The port of a server on loopback. A connection that stayed open in the end would be taken for a later test's."""
    tasks: list[asyncio.Task[None]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(served(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1")
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def lost_stops(ask: Callable[[], Awaitable[object]]) -> int:
    """How many of 100 stops are forgotten: about half, by a bare client in Python 3.11. Each comes a little later."""

    async def asking() -> None:
        while not task.cancelling():
            await ask()

    lost = 0
    for number in range(100):
        await ask()  # connects: stopped meanwhile, MongoDB's driver leaves a socket open
        task = asyncio.ensure_future(asking())
        await asyncio.sleep(number / 10_000)
        task.cancel()
        await asyncio.wait([task])
        lost += not task.cancelled()
    return lost


class _Patient(Client):
    def jetstream(self, **options: object) -> JetStreamContext:
        return super().jetstream(**{"timeout": HANG_SECONDS} | options)


async def connect(url: str, **options: object) -> Client:
    """A client of the test's own, whose deadlines are for hangs: nats-py gives up after 2 and 5 seconds."""
    client = _Patient()
    await client.connect(url, **{"connect_timeout": HANG_SECONDS} | options)  # type: ignore[arg-type]
    return client


async def settled(client: Client) -> None:
    """Return when the server has read all that the client sent, and the client all that the server sent until then.

    nats-py sends the PING of a flush ahead of what was subscribed or published before it, hence two.
    """
    for _ in range(2):
        await client.flush(int(HANG_SECONDS))


async def drained(js: JetStreamContext, durable: str, within: float = 10.0) -> ConsumerInfo:
    """What NATS tells of the consumer, once it has delivered all events and counted each acknowledgement."""
    async with asyncio.timeout(within):
        while True:
            info = await js.consumer_info(STREAM, durable)
            if not (info.num_pending or info.num_ack_pending):
                return info
            await asyncio.sleep(0.02)


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
