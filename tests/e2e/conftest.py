"""A stack of the test's own: its nats-server, its database on the session's mongod, and services on free ports."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from nats.aio.client import Client
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from tests.support import connect

# Of a worker with a slot a second, none of which may be missing: a machine that stands still so long makes some late.
STEADY = {"MISSED_SLOTS": "all"}


class Standalone(Mongod):
    """A mongod that was started without `--replSet`."""

    def _args(self, port: int) -> list[str]:
        args = list(super()._args(port))
        place = args.index("--replSet")
        return args[:place] + args[place + 2 :]

    def _answers(self, port: int) -> bool:
        try:
            with MongoClient[dict[str, Any]](
                "127.0.0.1", port, directConnection=True, serverSelectionTimeoutMS=1000
            ) as client:
                return bool(client.admin.command("serverStatus")["pid"] == self.pid)
        except PyMongoError:
            return False


@pytest.fixture(scope="session")
def standalone(mongod: Mongod) -> Iterator[Standalone]:
    assert mongod.status is None  # it is skipped where no mongod can run
    with Standalone() as server:
        yield server


class Stack:
    def __init__(
        self, server: NatsServer, mongo_url: str, database: Database[dict[str, Any]], service: Service
    ) -> None:
        self.nats = server
        self.events = database.events
        self.dead_letters = database.dead_letters
        self._service = service
        self._environ = {
            "NATS_URL": server.url,
            "MONGO_URL": mongo_url,
            "MONGO_DB": database.name,
            "MARKET_SOURCE": "simulated",
            "SCHEDULE": "* * * * * *",
        }

    def run(self, module: str, *arguments: str, **environ: str) -> Process:
        addresses = {"HTTP_PORT": str(ports.free()), "HEALTH_PORT": str(ports.free())}
        return self._service(module, *arguments, **self._environ | addresses | environ)

    def worker(self, *arguments: str, **environ: str) -> Process:
        return self.run("worker", *arguments, **environ)

    def api_stub(self, **environ: str) -> Process:
        """An API stub that is connected to NATS."""
        process = self.run("api_stub", **environ)
        process.wait_for_line("[NATS] Connected")
        return process

    def slots(self) -> list[datetime]:
        return [event["timestamp"] for event in self.events.find(sort=[("timestamp", 1)])]

    def sum(self) -> int:
        return self.events.count_documents({}) + self.dead_letters.count_documents({})


@pytest.fixture
def stack(mongod: Mongod, service: Service, request: pytest.FixtureRequest) -> Iterator[Stack]:
    name = f"test_{abs(hash(request.node.nodeid)):x}"
    with (
        NatsServer() as server,
        MongoClient[dict[str, Any]](mongod.url, directConnection=True, tz_aware=True) as client,
    ):
        yield Stack(server, mongod.url, client[name], service)
        client.drop_database(name)


@pytest.fixture
async def publisher(stack: Stack) -> AsyncIterator[Client]:
    client = await connect(stack.nats.url)
    yield client
    await client.close()


async def publish_raw(server: NatsServer, header: bytes, body: bytes, status: bytes = b"") -> None:
    """Publish with a header, or with a status as only the server sends it, that no client library would send."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = b" ".join((b"NATS/1.0", status)).rstrip() + b"\r\n" + header + b"\r\n\r\n"
    sizes = b"%d %d" % (len(head), len(head) + len(body))
    writer.write(b'CONNECT {"headers":true}\r\nHPUB crypto.updates ' + sizes + b"\r\n" + head + body + b"\r\nPING\r\n")
    await reader.readuntil(b"PONG")
    writer.close()


def gaps(slots: list[datetime], step: float) -> list[tuple[datetime, datetime]]:
    """The neighbours among slots that are not `step` seconds apart."""
    return [(a, b) for a, b in pairwise(slots) if b - a != timedelta(seconds=step)]
