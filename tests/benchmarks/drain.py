"""How fast an API stub stores a backlog, and the CPU that it takes, beside limits and peers in the same run."""

import asyncio
import os
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import Any

import nats
import psutil
from pymongo import MongoClient

from crypto_updates.local import guard, ports, programs
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from stack import console, services
from tests.benchmarks.backlog import fill

NAMES = ("insert_many", "receive", "api_stub", "faststream", "plain")
# The slow ones get so many events at most.
MOST = {"plain": 2_000}
# Seconds between looks, and until it is no use to look on.
POLL, PATIENCE = 0.1, 600.0


class Rig:
    """Servers whose stream holds so many events."""

    def __init__(self, closing: ExitStack, events: int) -> None:
        self.events = events
        self.data = closing.enter_context(guard.folder())
        self.mongod, self._server = closing.enter_context(Mongod()), closing.enter_context(NatsServer())
        self._client = closing.enter_context(MongoClient[dict[str, Any]](self.mongod.url, directConnection=True))
        self.environ = os.environ | services.defaults(self.data) | {"LOG_LEVEL": "warning"}
        self.environ |= {"MONGO_URL": self.mongod.url, "NATS_URL": self._server.url}
        services.provision(self.environ)
        with console.step(f"{events:,} events into the stream"):
            asyncio.run(fill(self._server.url, events))

    def servers(self) -> dict[str, float]:
        """The seconds of CPU that each has taken until now."""
        return {server.name: cpu(server.pid) for server in (self.mongod, self._server)}

    def contender(self, name: str) -> dict[str, float]:
        """Its events a second, and the seconds of CPU an event of its process and of each server."""
        events = min(self.events, MOST.get(name, self.events))
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.contender",
            name,
            self._server.url,
            self.mongod.url,
            str(events),
        ]
        before = self.servers()
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
        taken = {server: (now - before[server]) / events for server, now in self.servers().items()}
        seconds, own = map(float, result.stdout.split()[-2:])
        self._client.bench.drop_collection(name)
        asyncio.run(self._forget(name))
        return {"pace": events / seconds, "own": own / events} | taken

    def api_stub(self, count: int = 1) -> dict[str, float]:
        """As a contender's, of so many API stubs, once each of them stores, but for the first tenth and the last.

        How many are stored then is what MongoDB says, so that the pace of looking matters little.
        """
        services.provision(self.environ)
        with ExitStack() as closing:
            stubs = [self._stub() for _ in range(count)]
            for stub in stubs:
                closing.callback(stub.stop)
            for stub in stubs:
                stub.wait_for_line("[EVENT] Stored", PATIENCE)
            begin, first = self.stored(self.events // 10)
            before = self._taken(stubs)
            if first > self.events // 2:
                raise RuntimeError(
                    f"{first} of {self.events} events stored before each of {count} API stubs had started"
                )
            end, last = self.stored(self.events * 9 // 10)
            taken = {name: (now - before[name]) / (last - first) for name, now in self._taken(stubs).items()}
            self.stored(self.events)
        self._client.crypto.drop_collection("events")
        asyncio.run(self._forget("api_stub"))
        return {"pace": (last - first) / (end - begin)} | taken

    def _taken(self, stubs: list[Process]) -> dict[str, float]:
        return {"own": sum(cpu(stub.pid) for stub in stubs)} | self.servers()

    def _stub(self) -> Process:
        # It tells of each batch.
        environ = self.environ | {"HTTP_PORT": str(ports.free()), "LOG_LEVEL": "info"}
        return programs.start("api_stub", environ=environ, cwd=self.data)

    def stored(self, count: int, every: float = POLL) -> tuple[float, int]:
        """When so many events were stored, and how many then were. It looks `every` so many seconds."""
        deadline = time.monotonic() + PATIENCE
        while (stored := self._client.crypto.events.estimated_document_count()) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{stored} of {count} events stored after {PATIENCE:.0f} s")
            time.sleep(every)
        return time.perf_counter(), stored

    async def _forget(self, durable: str) -> None:
        """Remove the consumer, so that the next one starts at the first event."""
        client = await nats.connect(self._server.url)
        if durable != "insert_many":
            await client.jetstream().delete_consumer("CRYPTO", durable)
        await client.close()


def cpu(pid: int) -> float:
    """Seconds until now."""
    return float(sum(psutil.Process(pid).cpu_times()[:2]))


def measure(number: int, events: int) -> dict[str, dict[str, float]]:
    """What each of them gives and takes, in the order of the round's number."""
    with ExitStack() as closing:
        rig, found = Rig(closing, events), {}
        for name in NAMES if number % 2 else reversed(NAMES):
            with console.step(name):
                found[name] = rig.api_stub() if name == "api_stub" else rig.contender(name)
    return {name: found[name] for name in NAMES}
