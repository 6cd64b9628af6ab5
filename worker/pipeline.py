"""The way of a slot through the worker: collected at its time, then delivered in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from bus import event, history, service
from bus.client import Bus
from bus.connection import LINK_ERRORS
from bus.event import Event
from worker import catchup, tick
from worker.config import Settings
from worker.cron import Cron
from worker.market import Market

log = logging.getLogger(__name__)


class Pipeline:
    """Fetching does not wait for publishing: with NATS down, each event still has the data of its own time."""

    def __init__(self, settings: Settings, cron: Cron, bus: Bus, market: Market | None) -> None:
        self._settings = settings
        self._cron = cron
        self._bus = bus
        self._market = market
        self._slots: asyncio.Queue[datetime] = asyncio.Queue()
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()

    def hand(self, slot: datetime) -> None:
        """Take a slot over from the scheduler's thread."""
        self._loop.call_soon_threadsafe(self._slots.put_nowait, slot)

    def missed(self, slots: Sequence[datetime]) -> None:
        """Take slots over that the scheduler's thread was too late for."""
        policy = self._settings.missed_slots
        catchup.tell(slots, policy, self._cron)
        # The newest due slot is handed over on time, so `latest` has nothing to add here.
        for slot in catchup.chosen(slots, policy) if policy == "all" else []:
            self.hand(slot)

    async def run(self) -> None:
        """Until cancelled; then what is in hand is still published, if that takes no longer than the grace."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._collect())
                group.create_task(self._deliver())
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(service.GRACE):
                    while not self._events.empty():
                        await self._publish(self._events.get_nowait())

    async def _catch_up(self) -> None:
        """At the start: what passed since the stream's newest event."""
        started = datetime.now(UTC)
        try:
            published = await history.newest(await self._bus.connection(), self._settings.feed)
        except LINK_ERRORS as error:
            log.warning("[CRON] What the stream has is not known (%s); the latest slot is published", error)
            published = []
        last = catchup.last(published, self._cron, started)
        slots = catchup.missed(self._cron, last, started)
        if last:
            catchup.tell(slots, self._settings.missed_slots, self._cron)
        for slot in catchup.chosen(slots, self._settings.missed_slots):
            self._slots.put_nowait(slot)

    async def _collect(self) -> None:
        while True:
            await service.finished(self._make(await self._slots.get()))

    async def _make(self, slot: datetime) -> None:
        if self._market and not self._market.knows_past and self._cron.next(slot) <= datetime.now(UTC):
            log.info("[MARKET] %s is past, and its quotes with it: the event goes without data", event.text(slot))
            self._events.put_nowait(Event(timestamp=slot))
        else:
            made = Event(timestamp=slot)  # what is left when the worker is stopped in the middle of the fetch
            try:
                made = await tick.make(slot, self._market, tick.budget(self._cron, slot))
            finally:
                self._events.put_nowait(made)

    async def _deliver(self) -> None:
        # First, because what is delivered from here on is the stream's newest event.
        await self._catch_up()
        while True:
            whole = await self._events.get()
            await service.finished(self._publish(whole))

    async def _publish(self, whole: Event) -> None:
        await tick.publish(whole, self._settings.feed, self._bus, self._cron)
