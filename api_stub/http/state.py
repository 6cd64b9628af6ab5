"""What the stations are: the worker, NATS, this API stub and MongoDB, asked for at most every two seconds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import msgspec

from api_stub.errors import StoreUnavailableError
from api_stub.metrics import Metrics
from api_stub.reader import Reader
from crypto_updates.bus import event
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.bus.stream import DURABLE, STREAM
from crypto_updates.clock import slots
from crypto_updates.clock.timetable import Timetable

# Seconds that an answer is good for, and that NATS and MongoDB have to give theirs.
FRESH, PATIENCE = 2.0, 2.0
Part = dict[str, Any]


class State:
    def __init__(self, timetable: Timetable, bus: Bus, reader: Reader, metrics: Metrics) -> None:
        self._timetable = timetable
        self._cron = timetable.cron
        self._bus = bus
        self._reader = reader
        self._metrics = metrics
        self._lock = asyncio.Lock()
        self._answer = b""
        self._asked = -FRESH

    async def json(self) -> bytes:
        """The state as JSON, not older than two seconds, however many ask."""
        async with self._lock:
            if time.monotonic() - self._asked >= FRESH:
                self._answer = msgspec.json.encode(await self._ask())
                self._asked = time.monotonic()
        return self._answer

    async def _ask(self) -> Part:
        now = datetime.now(UTC)
        worker, nats, mongo = await asyncio.gather(
            _answered(self._worker(now)), _answered(self._nats()), _answered(self._mongo())
        )
        if worker.get("ok") is False and "slot" not in worker:
            worker["ok"] = None  # without MongoDB, nothing is known of the worker
        return {
            "now": now,
            "feed": self._timetable.feed,
            "schedule": self._timetable.schedule,
            "zone": self._timetable.schedule_tz,
            "words": self._cron.words,
            "last": self._due(now),
            "next": self._cron.next(now),
            "worker": {"slot": None, "lag": None} | worker,
            "nats": dict.fromkeys(("messages", "last_seq", "pending", "ack_pending", "redelivered")) | nats,
            "api_stub": {"ok": True, "reason": None, "stored": self._metrics.stored},
            "mongo": {"events": None, "dead_letters": None} | mongo,
        }

    def _due(self, now: datetime) -> datetime:
        """The newest slot whose event should be there."""
        return self._cron.previous(now - slots.grace(self._cron, now))

    async def _worker(self, now: datetime) -> Part:
        """What its events tell of it."""
        feed = self._timetable.feed
        slot = await self._reader.newest(feed, now)
        if slot is None:
            return {"ok": None, "slot": None, "reason": f"no event of feed {feed} yet"}
        stored = (await self._reader.stored(feed, slot, slot)).get(slot)
        due = self._due(now)
        reason = None if slot >= due else f"the event of slot {event.text(due)} has not come"
        return {"ok": reason is None, "reason": reason, "slot": slot, "lag": stored and stored.lag}

    async def _nats(self) -> Part:
        await self._bus.ping()
        connection = await self._bus.connection(0)
        if connection.js is None:
            return {}
        stream, consumer = await asyncio.gather(
            connection.unless_lost(connection.js.stream_info(STREAM)),
            connection.unless_lost(connection.js.consumer_info(STREAM, DURABLE)),
        )
        return {
            "messages": stream.state.messages,
            "last_seq": stream.state.last_seq,
            "pending": consumer.num_pending or 0,
            "ack_pending": consumer.num_ack_pending or 0,
            "redelivered": consumer.num_redelivered or 0,
        }

    async def _mongo(self) -> Part:
        events, dead_letters = await self._reader.counts()
        return {"events": events, "dead_letters": dead_letters}


async def _answered(part: Awaitable[Part]) -> Part:
    """The part, or why it could not be had."""
    try:
        async with asyncio.timeout(PATIENCE):
            return {"ok": True, "reason": None} | await part
    except (StoreUnavailableError, UnreachableError, *LINK_ERRORS) as error:
        return {"ok": False, "reason": str(error) or f"no answer within {PATIENCE:.0f} s"}
