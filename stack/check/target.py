"""The stack that is verified: where it is, what is known of it so far, and the event that it is tried with."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

from pydantic import Field
from pymongo.errors import PyMongoError

from api_stub.config import StoreSettings
from api_stub.store import Events
from crypto_updates.bus import event
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.event import Event
from crypto_updates.bus.stream import STREAM
from crypto_updates.local.errors import StackError
from worker.config import WorkerSettings

# From body and headers to the sequence in the stream, and True if the stream had the event already.
Publish = Callable[[bytes, dict[str, str]], Awaitable[tuple[int | None, bool]]]

# The probe's feed and source, by which readers know it.
NAME = "verify"
POLL = 0.005
# What a verification that was killed has left is removed by a later one, which must spare those that run beside it.
ABANDONED = timedelta(minutes=1)
# Seconds for an event's way to MongoDB, and for its removal from the stream.
ARRIVAL, REMOVAL = 6.0, 2.0

API = "see the API stub's log (docker compose logs api_stub)"


class FailedError(StackError):
    """The check does not hold."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class SkippedError(StackError):
    """The check needs what an earlier one did not find."""


class CheckSettings(WorkerSettings, StoreSettings):
    api_url: str = Field(
        "http://127.0.0.1:8080", pattern=r"^https?://[^/\s]+", description="http://host:8080 or https://host"
    )


class Probe:
    """`connection` and `events` are where it is removed from; it may be published over another connection."""

    def __init__(self, connection: Connection, events: Events) -> None:
        at = datetime.now(UTC).replace(microsecond=0)
        # Two verifications may begin within the same second.
        self.id = f"{event.identity(NAME, at)}#{secrets.token_hex(4)}"
        self._event = Event(timestamp=at, source=NAME)
        self._js = connection.js
        self._events = events
        self._seq: int | None = None
        self._published = 0.0

    async def publish(self, publish: Publish) -> None:
        self._published = time.perf_counter()
        self._seq, _ = await publish(event.encode(self._event), event.headers(NAME, self._event, self.id))

    async def arrival(self, within: float) -> float | None:
        """Seconds from its publishing to its being found in MongoDB; None if it is not there `within` seconds."""
        deadline = time.perf_counter() + within
        while time.perf_counter() < deadline:
            if await self._events.find_one({"_id": self.id}, {"_id": 1}):
                return time.perf_counter() - self._published
            await asyncio.sleep(POLL)
        return None

    async def remove(self) -> list[str]:
        """Remove it everywhere, and return where that could not be done, and why.

        The stream comes first, so that no API stub stores it any more once MongoDB is rid of it.
        """
        left = []
        if self._js and self._seq is not None:
            try:
                async with asyncio.timeout(REMOVAL):
                    await self._js.delete_msg(STREAM, self._seq)
            except LINK_ERRORS as error:
                why = error if str(error) else "no answer; NATS_USER may not have the right"
                left.append(f"{self.id} in the stream {STREAM}, sequence {self._seq}: {why}")
        older = {
            "_id": {"$gte": f"{NAME}@", "$lt": f"{NAME}A"},  # A follows @
            "source": NAME,
            "timestamp": {"$lt": self._event.timestamp - ABANDONED},
        }
        try:
            await self._events.delete_many({"$or": [{"_id": self.id}, older]})
        except PyMongoError as error:
            left.append(f"{self.id} in the collection {self._events.full_name}: {error}")
        return left


class Stack:
    """`left`: probes that could not be removed, and why."""

    def __init__(self, settings: CheckSettings, closing: AsyncExitStack) -> None:
        self.settings = settings
        self.closing = closing
        self.cron = settings.cron
        self.connection: Connection | None = None
        self.events: Events | None = None
        self.delivers = False
        self.left: list[str] = []

    def nats(self) -> Connection:
        if self.connection is None:
            raise SkippedError("NATS is not connected")
        return self.connection

    def publisher(self) -> Connection:
        connection = self.nats()
        if connection.js is None and self.settings.delivery != "core":
            raise SkippedError(f"there is no stream {STREAM}")
        return connection

    def mongo(self) -> Events:
        if self.events is None:
            raise SkippedError("MongoDB is not connected")
        return self.events

    async def send(self, publish: Publish) -> float:
        """Seconds until an event sent so is in MongoDB, from where it is removed again. Raises FailedError."""
        probe = Probe(self.publisher(), self.mongo())
        try:
            await probe.publish(publish)
            seconds = await probe.arrival(ARRIVAL)
        finally:
            self.left += await probe.remove()
        if seconds is None:
            raise FailedError(
                f"the event {probe.id} was not in MongoDB {ARRIVAL:.0f} s after it was published",
                f"{API}; NATS_URL, MONGO_URL and MONGO_DB must be the API stub's",
            )
        return seconds
