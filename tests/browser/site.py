"""The site under test: a stack whose events the test publishes or stores."""

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

from nats.aio.client import Client

from crypto_updates.bus.event import identity, text
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod
from tests.e2e.conftest import Stack
from tests.support import soon

QUARTER = timedelta(minutes=15)
SECOND = timedelta(seconds=1)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def quote(coin: str, price: object, change: float | None = 1.5) -> dict[str, Any]:
    about = {"coin": coin, "symbol": coin[:3], "price": price, "market_cap": 9e11, "change_24h": change}
    return about | {"currency": "usd", "updated_at": text(now())}


def event(slot: datetime, *quotes: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"event": "CRYPTO_UPDATE", "timestamp": text(slot), "source": "coingecko", "data": list(quotes)} | more


def body(slot: datetime, *quotes: dict[str, Any], **more: object) -> bytes:
    return json.dumps(event(slot, *quotes, **more)).encode()


class Site:
    """Its schedule has a slot every 15 minutes. `newest` is 5 minutes old, so that no test meets the next one."""

    client: Client

    def __init__(self, stack: Stack, mongod: Mongod, schedule: str | None = None) -> None:
        """`schedule`: another one, of which `newest` need not be a slot."""
        self.newest = now().replace(second=0) - timedelta(minutes=5)
        self.stack = stack
        self.mongod = mongod
        self.port = ports.free()
        self.url = f"http://127.0.0.1:{self.port}"
        self._schedule = schedule or f"{self.newest.minute % 15}-59/15 * * * *"
        self.stub: Process

    async def start(self) -> None:
        """Start the API stub, always on the same port."""
        self.stub = self.stack.run("api_stub", HTTP_PORT=str(self.port), SCHEDULE=self._schedule)
        for line in ("[HTTP] Listening", "[NATS] Connected"):
            await asyncio.to_thread(self.stub.wait_for_line, line, 20)

    def freeze(self) -> None:
        self.stub.kill(signal.SIGSTOP)

    def thaw(self) -> None:
        self.stub.kill(signal.SIGCONT)

    async def reconnected(self) -> None:
        """Wait until the test's own connection to NATS is back."""
        assert await soon(lambda: self.client.is_connected)

    async def publish(self, slot: datetime, *quotes: dict[str, Any], **more: object) -> str:
        """Publish the slot's event, as a worker does, and return its id."""
        name = identity("crypto", slot)
        await self.send(body(slot, *quotes, **more), name)
        return name

    async def send(self, body: bytes, name: str | None = None) -> None:
        headers = {"Nats-Msg-Id": name} if name else None
        await self.client.jetstream().publish("crypto.updates", body, headers=headers)

    async def stored(self, count: int) -> None:
        """Wait until so many events are in MongoDB."""
        assert await soon(lambda: self.stack.events.count_documents({}) >= count)

    def store(self, slot: datetime, *quotes: dict[str, Any], lag: float = 1.0, **more: object) -> str:
        """Insert an event into MongoDB as if stored `lag` seconds after its slot, and return its id."""
        name = identity("crypto", slot)
        times = {"timestamp": slot, "received_at": slot + lag * SECOND, "stream_seq": 1}
        self.stack.events.insert_one({"_id": name} | event(slot, *quotes) | times | more)
        return name

    def fill(self, slots: int, until: datetime | None = None) -> list[datetime]:
        """Store the events of so many quarters, the last one `until` (the newest one), and return their slots."""
        found = [(until or self.newest) - n * QUARTER for n in range(slots)]
        for n, slot in enumerate(found):
            self.store(slot, quote("bitcoin", 50_000 + 100 * (n % 7)), quote("ethereum", 3000 + n))
        return found
