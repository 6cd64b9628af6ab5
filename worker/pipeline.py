"""The way of a slot through the worker: collected at its time into the outbox, and delivered from there in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

from crypto_updates.bus import event, history
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import budget
from crypto_updates.service import errors, lifecycle
from worker import catchup, tick
from worker.config import WorkerSettings
from worker.market import Market
from worker.outbox import Outbox, Waiting
from worker.turn import Turns

log = logging.getLogger(__name__)

HISTORY_WAIT = 1.0


class Pipeline:
    """Fetching does not wait for publishing: with NATS down, each event still has the data of its own time."""

    def __init__(self, settings: WorkerSettings, cron: Cron, bus: Bus, market: Market | None, outbox: Outbox) -> None:
        self._settings = settings
        self._cron = cron
        self._bus = bus
        self._market = market
        self._outbox = outbox
        self._turns = Turns(settings, cron, bus)
        self._slots: asyncio.Queue[datetime] = asyncio.Queue()
        self._newest: datetime | None = None
        # How often slots may have passed unseen since the last look; the first of them, where the scheduler knows it.
        self._gaps = 1
        self._first: datetime | None = None
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def hand(self, slot: datetime) -> None:
        """Take a slot over from the scheduler's thread."""
        self._loop.call_soon_threadsafe(self._take, slot)

    def missed(self, slots: Sequence[datetime]) -> None:
        """Take note of slots that the scheduler's thread was too late for."""
        self._loop.call_soon_threadsafe(self._fall_behind, slots)

    async def run(self) -> None:
        """Until cancelled; then what is in hand is still published, if that takes no longer than the grace."""
        self._newest = self._newest or self._cron.previous(datetime.now(UTC))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._collect())
                group.create_task(self._deliver())
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(lifecycle.GRACE_SECONDS):
                    while not self._gaps and (waiting := self._outbox.oldest()):
                        await self._publish(waiting)

    def _take(self, slot: datetime) -> None:
        self._newest = slot
        self._slots.put_nowait(slot)

    def _fall_behind(self, slots: Sequence[datetime]) -> None:
        self._gaps += 1
        self._first, self._newest = self._first or slots[0], slots[-1]
        self._news.set()

    async def _collect(self) -> None:
        while True:
            slot = await self._slots.get()
            await lifecycle.finish(self._make(slot))
            self._slots.task_done()

    async def _make(self, slot: datetime) -> None:
        made: Event | None = Event(timestamp=slot)  # what is left when the worker is stopped in the middle of the fetch
        try:
            if self._cron.next(slot) <= datetime.now(UTC):
                made = await self._make_past(slot)
            elif self._market is None or await self._turns.first(slot):
                made = await self._fetch(slot)
            else:
                # Stopped here, it leaves the slot to the others: its event without data would beat that of a slow one.
                made = None
                is_mine = await self._turns.later(slot)
                if is_mine is None:
                    made = Event(timestamp=slot)
                elif is_mine:
                    made = await self._fetch(slot)
        finally:
            if made:
                self._outbox.add(made)
            self._news.set()

    async def _make_past(self, slot: datetime) -> Event:
        if self._market and not self._market.knows_past:
            log.info("[MARKET] %s is past, and its quotes with it: the event goes without data", event.text(slot))
            return Event(timestamp=slot)
        return await self._fetch(slot)

    async def _fetch(self, slot: datetime) -> Event:
        return await tick.make(slot, self._market, budget(self._cron, slot))

    async def _deliver(self) -> None:
        while True:
            self._news.clear()
            while self._gaps:
                await self._catch_up()
            if waiting := self._outbox.oldest():
                await lifecycle.finish(self._publish(waiting))
            else:
                await self._news.wait()

    async def _publish(self, waiting: Waiting) -> None:
        await tick.publish(waiting.slot, waiting.body, self._settings.feed, self._bus, self._cron)
        self._outbox.remove(waiting.slot)

    async def _catch_up(self) -> None:
        """Make what passed since the stream's newest event and neither the stream nor the outbox has.

        It is done before anything is delivered, because what is delivered then is the stream's newest event.
        """
        gaps, policy = self._gaps, self._settings.missed_slots
        await self._slots.join()
        first, newest = self._first, self._newest or self._cron.previous(datetime.now(UTC))
        published = await self._history(newest)
        missed, wanted = catchup.plan(
            self._cron, published, self._outbox.slots(), first=first, newest=newest, policy=policy
        )
        catchup.tell(missed, policy, self._cron)
        try:
            while wanted:
                await lifecycle.finish(self._make(wanted.pop(0)))
        finally:
            # Also when the worker is stopped, if what was being made is the last.
            if not wanted:
                self._gaps -= gaps
                self._first = self._first if self._gaps else None

    async def _history(self, newest: datetime) -> list[history.Published]:
        told = False
        while True:
            connection = await self._bus.connection()
            try:
                in_time = partial(catchup.is_in_time, cron=self._cron, now=newest)
                return await connection.unless_lost(history.newest(connection, self._settings.feed, in_time))
            except LINK_ERRORS as error:
                if not told:
                    log.warning("[CRON] What the stream has is not known yet (%s)", errors.text(error))
                told = True
                await asyncio.sleep(HISTORY_WAIT)
