"""What the event stream costs the storing, and how soon an event is told: 200 clients, one of which takes nothing.

    python -m benchmarks.stream [--clients 200] [--rounds 4] [--events 50000] [--rate 20] [--json FILE]

Each round stores two backlogs, one with nobody listening and one with all, the order changing from round to round: the
ratio of the two paces is the figure. The listeners' process takes of the same CPUs; how much is said.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import statistics
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
from pymongo import MongoClient

from benchmarks.api import quotes
from crypto_updates.bus.event import text
from crypto_updates.local import guard, ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from stack import console, services

# Seconds between looks, and until it is no use to look on.
POLL, PATIENCE = 0.02, 180.0
# Seconds of the part in which latency is measured.
QUIET = 20.0
Figures = dict[str, Any]


class Rig:
    """The servers and an API stub, which is held while a backlog is made."""

    def __init__(self, closing: AsyncExitStack) -> None:
        self._numbers = itertools.count()
        self._closing = closing
        data = closing.enter_context(guard.folder())
        self._mongod, self._server = closing.enter_context(Mongod()), closing.enter_context(NatsServer())
        client = MongoClient[dict[str, Any]](self._mongod.url, directConnection=True)
        self._events = closing.enter_context(client).crypto.events
        self.port = ports.free()
        environ = os.environ | services.defaults(data) | {"HTTP_PORT": str(self.port), "LOG_LEVEL": "warning"}
        environ |= {"MONGO_URL": self._mongod.url, "NATS_URL": self._server.url}
        services.provision(environ)
        self.stub = Process([sys.executable, "-m", "api_stub"], env=environ, cwd=data)
        closing.callback(self.stub.stop)

    async def connect(self) -> None:
        client = await nats.connect(self._server.url)
        self._closing.push_async_callback(client.close)
        self._js = client.jetstream()
        await until(lambda: services.is_ready(f"127.0.0.1:{self.port}"))

    async def publish(self, count: int, pause: float = 0) -> None:
        for number in itertools.islice(self._numbers, count):
            at = datetime.now(UTC)
            body = {"event": "CRYPTO_UPDATE", "timestamp": text(at), "data": quotes(number, at)}
            await self._js.publish_async(
                "crypto.updates", json.dumps(body, default=str).encode(), headers={"Nats-Msg-Id": f"bench@{number}"}
            )
            await asyncio.sleep(pause)
        await self._js.publish_async_completed()

    async def drained(self, count: int) -> float:
        """Store a backlog of so many, and return the pace in events a second."""
        began, end = self.stored() + count // 10, self.stored() + count
        self.stub.kill(signal.SIGSTOP)
        await self.publish(count)
        self.stub.kill(signal.SIGCONT)
        await until(lambda: self.stored() >= began)
        first, begin = self.stored(), time.perf_counter()
        await until(lambda: self.stored() >= end)
        return (end - first) / (time.perf_counter() - begin)

    def stored(self) -> int:
        return self._events.estimated_document_count()

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            found = re.search(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def clients(self) -> float:
        return self.metric("crypto_stream_clients")

    @contextlib.asynccontextmanager
    async def listeners(self, clients: int) -> AsyncIterator[Figures]:
        """So many listen, and one of them takes nothing; what they were told is there at the end."""
        pipe, told = asyncio.subprocess.PIPE, Figures()
        command = [sys.executable, "-m", "benchmarks.listeners", str(self.port), str(clients - 1), "1"]
        process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        await until(lambda: self.clients() == clients)
        yield told
        output, _ = await process.communicate(b"")  # with nothing at all, Python 3.11 leaves the pipe open
        told |= json.loads(output)
        await until(lambda: self.clients() == 0)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - what it looks at has no event
            await asyncio.sleep(POLL)


async def drain(rig: Rig, events: int, clients: int) -> Figures:
    if not clients:
        return {"clients": 0, "events_per_s": round(await rig.drained(events))}
    async with rig.listeners(clients) as told:
        pace = await rig.drained(events)
    return {"clients": clients, "events_per_s": round(pace)} | told


async def quiet(rig: Rig, clients: int, rate: float) -> Figures:
    """Latency at a modest rate, and how long it takes until the one that takes nothing is dropped."""
    begin = time.monotonic()
    async with rig.listeners(clients) as told:
        await rig.publish(int(QUIET * rate), 1 / rate)
        publishing = asyncio.create_task(rig.publish(int(PATIENCE * rate), 1 / rate))
        await until(lambda: rig.clients() == clients - 1)
        dropped = time.monotonic() - begin
        publishing.cancel()
    return {"clients": clients, "rate": rate, "stalled_dropped_after_s": round(dropped, 1)} | told


async def measure(options: argparse.Namespace) -> Figures:
    async with AsyncExitStack() as closing:
        rig = Rig(closing)
        await rig.connect()
        rounds, ratios = [], []
        for number in range(options.rounds):
            order = (0, options.clients) if number % 2 == 0 else (options.clients, 0)
            pair = [await drain(rig, options.events, clients) for clients in order]
            paces = {one["clients"]: one["events_per_s"] for one in pair}
            ratios.append(paces[options.clients] / paces[0])
            rounds += pair
            console.say("\n".join(map(str, pair)))
        latency = await quiet(rig, options.clients, options.rate)
        console.say(str(latency))
        found = {"ratio": round(statistics.median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios]}
        return found | {"drains": rounds, "quiet": latency, "log": list(rig.stub.lines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--events", type=int, default=50_000, help="of each backlog")
    parser.add_argument("--rate", type=float, default=20, help="events a second in the quiet part")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    console.say(f"pace with {options.clients} clients / without: {figures['ratio']} (rounds: {figures['ratios']})")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
