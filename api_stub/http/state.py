"""Whether the four stations work: the worker, NATS, this API stub and MongoDB."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from api_stub import retention
from api_stub.config import ApiSettings
from api_stub.errors import StoreUnavailableError
from api_stub.metrics import SLOT_STATES
from api_stub.mongo import Document
from api_stub.reader import Reader
from api_stub.store import Store
from api_stub.subscriber import Subscriber
from crypto_updates.bus import event, figures
from crypto_updates.bus.client import Bus
from crypto_updates.bus.errors import BusError
from crypto_updates.clock import slots
from crypto_updates.clock.timetable import Timetable

# However many clients ask for the state, the servers are asked for it this often.
FRESH_SECONDS = 2.0
REPLY_SECONDS = 2.0
# The metrics count so many of the newest slots, because their events are read for it.
MEASURED_SLOTS = 300


class _Recent:
    """What the servers told, FRESH_SECONDS ago at most."""

    def __init__(self, ask: Callable[[], Awaitable[Document]]) -> None:
        self._ask = ask
        self._lock = asyncio.Lock()
        self._told: Document = {}
        self._asked = -FRESH_SECONDS

    async def __call__(self) -> Document:
        async with self._lock:
            if time.monotonic() - self._asked >= FRESH_SECONDS:
                self._told = await self._ask()
                self._asked = time.monotonic()
        return self._told


class State:
    """`recent()` is the state, two seconds old at most."""

    def __init__(self, settings: ApiSettings, bus: Bus, store: Store, reader: Reader, subscriber: Subscriber) -> None:
        self._timetable: Timetable = settings
        self._cron = settings.cron
        self._max_event_age = settings.max_event_age
        self._bus = bus
        self._store = store
        self._reader = reader
        self._subscriber = subscriber
        self.recent = _Recent(self.read)
        self._counted = _Recent(self._count)

    async def read(self) -> Document:
        """The state now. What a server does not tell within REPLY_SECONDS is None."""
        now, problem = datetime.now(UTC), self._subscriber.problem
        worker, nats, mongo = await asyncio.gather(
            # Only MongoDB tells about the worker. Without it, nothing is known.
            _answered(self._worker(now), otherwise=None),
            _answered(self._nats()),
            _answered(self._mongo()),
        )
        return {
            "now": now,
            **self._timetable.names,
            "last": slots.due(self._cron, now),
            "next": self._cron.next(now),
            "worker": {"slot": None, "lag": None} | worker,
            "nats": dict.fromkeys(figures.Figures._fields) | nats,
            "api_stub": {"ok": not problem, "reason": problem, "stored": self._subscriber.stored},
            "mongo": {"events": None, "dead_letters": None} | mongo,
        }

    async def measured(self) -> Document:
        """The state now, with `slots`: how many of the newest slots are in each state, two seconds ago at most."""
        state, counts = await asyncio.gather(self.read(), self._counted())
        return state | {"slots": counts}

    async def _count(self) -> Document:
        return await _answered(self._slots(datetime.now(UTC)), otherwise=None)

    async def _slots(self, now: datetime) -> Document:
        since = now - slots.window(self._cron, MEASURED_SLOTS)
        beginning = (await self._reader.beginning(self._timetable, now)).at
        stored = await self._reader.stored(self._timetable, since, now)
        found = Counter[str](cell.state for cell in slots.cells(self._cron, since, now, beginning, stored))
        return {state: found[state] for state in SLOT_STATES}

    async def _worker(self, now: datetime) -> Document:
        """What the worker's stored events tell about it."""
        feed = self._timetable.feed
        slot = await self._reader.newest(self._timetable, now)
        if slot is None:
            return {"ok": None, "slot": None, "reason": f"no event of feed {feed} yet"}
        stored = (await self._reader.stored(self._timetable, slot, slot)).get(slot)
        due = slots.due(self._cron, now)
        reason = None if slot >= due else f"the event of slot {event.text(due)} has not come"
        return {"ok": reason is None, "reason": reason, "slot": slot, "lag": stored and stored.lag}

    async def _nats(self) -> Document:
        await self._bus.ping()
        if refusal := self._bus.refusal:
            return {"ok": False, "reason": refusal}
        try:
            told = await figures.read(await self._bus.connection(0))
        except figures.UnknownError as error:
            return {"ok": None, "reason": str(error)}
        return told._asdict() if told else {"reason": self._bus.lack}

    async def _mongo(self) -> Document:
        await self._store.check()
        least = retention.least(self._cron, datetime.now(UTC))
        counts, lacks = await self._reader.counts(), await self._reader.lacks(self._max_event_age, least)
        return counts | {"reason": "; ".join(lacks) or None}


async def _answered(part: Coroutine[Any, Any, Document], *, otherwise: bool | None = False) -> Document:
    """The part with `ok`; or `otherwise` as `ok`, and the reason why no server told it."""
    task = asyncio.ensure_future(part)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody waits for a late one
    try:
        # Unlike `timeout`, this ends in time when pymongo swallows a cancellation: its server selection waits in steps
        # of half a second, with Python 3.11's `wait_for` (https://github.com/python/cpython/issues/86296).
        await asyncio.wait([task], timeout=REPLY_SECONDS)
        if not task.done():
            return {"ok": otherwise, "reason": f"no answer within {REPLY_SECONDS:.0f} s"}
        return {"ok": True, "reason": None} | task.result()
    except (StoreUnavailableError, BusError) as error:
        return {"ok": otherwise, "reason": str(error)}
    finally:
        task.cancel()
