"""How a slot passes through the worker: made at its time, kept in the outbox, delivered from there in order."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial

from crypto_updates.bus import event, history
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import budget, is_past
from crypto_updates.service import errors, lifecycle
from worker import catchup, tick, turn
from worker.config import WorkerSettings
from worker.freshness import Freshness
from worker.market import Market
from worker.outbox import Outbox, Waiting
from worker.prices import Prices

log = logging.getLogger(__name__)

HISTORY_RETRY_SECONDS = 1.0
# NATS mostly acknowledges an event within this time. If it does not, the event is written to the outbox.
HEAD_START_SECONDS = 0.005
# New events wait while a catch-up asks for the data of past slots.
MAX_CATCH_UP_SECONDS = 60.0


class Pipeline:
    """Fetching does not wait for publishing: with NATS down, each event still has the data of its own time."""

    def __init__(
        self,
        settings: WorkerSettings,
        bus: Bus,
        market: Market | None,
        outbox: Outbox,
        *,
        begin: datetime | None = None,
    ) -> None:
        """The slots from `begin` (now) on will be handed over; those before it may have been missed."""
        self._settings = settings
        self._cron = settings.cron
        self._bus = bus
        self._market = market
        self._outbox = outbox
        self._freshness = Freshness(settings.coins if market else (), self._cron)
        self._prices = Prices(is_shown=settings.shows_prices)
        self._slots: asyncio.Queue[datetime] = asyncio.Queue()
        # The newest slot handed over. The scheduler may hand one over before `run` begins.
        self._last = self._cron.previous(begin or datetime.now(UTC))
        # Gaps not yet looked into: the slots after which others may have passed. None stands for the start.
        self._gaps: list[datetime | None] = [None]
        # Of slots not made yet: whether this worker is the first to claim them.
        self._claims: dict[datetime, asyncio.Task[bool]] = {}
        self._news = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def hand(self, slot: datetime) -> None:
        """Take a slot over from the scheduler's thread."""
        self._loop.call_soon_threadsafe(self._take, slot)

    def announce(self, slot: datetime) -> None:
        """Claim a coming slot that the scheduler's thread announces, so that nothing waits for NATS when it is due."""
        self._loop.call_soon_threadsafe(self._claim, slot)

    async def run(self) -> None:
        """Run until cancelled; then publish what waits in the outbox, for as long as the grace lasts."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(lifecycle.keep(self._collect))
                group.create_task(lifecycle.keep(self._deliver))
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(lifecycle.left(lifecycle.GRACE_SECONDS)):
                    while not self._gaps and (waiting := self._outbox.oldest()):
                        await self._publish(waiting)

    def _take(self, slot: datetime) -> None:
        if not catchup.follows(slot, self._last, self._cron):
            self._gaps.append(self._last)
            self._news.set()
        self._last = slot
        self._slots.put_nowait(slot)

    def _claim(self, slot: datetime) -> None:
        # A clock that was set back announces a slot again. A worker that is behind leaves the slot to the others.
        if self._bus.is_connected and self._slots.empty() and slot not in self._claims:
            self._claims[slot] = self._loop.create_task(turn.claim(self._bus, self._settings, slot))

    async def _is_mine(self, slot: datetime) -> bool:
        """True when this worker is the first to claim the slot, ahead or now, and when NATS cannot tell."""
        ahead = self._claims.pop(slot, None)
        self._claims = {later: claim for later, claim in self._claims.items() if later > slot}
        if ahead is None:
            return await turn.claim(self._bus, self._settings, slot)
        # After a suspend, another worker may have made what this one has claimed.
        return await ahead and (
            turn.is_early(self._settings, slot) or not await turn.holds(self._bus, self._settings, slot)
        )

    async def _collect(self) -> None:
        while True:
            slot = await self._slots.get()
            await lifecycle.finish(self._make([slot]))
            self._slots.task_done()
            self._news.set()

    async def _make(self, slots: list[datetime]) -> None:
        """Make the slots, oldest first, and take each from the list; or leave all to another worker that makes them.

        Workers deliver in order, so the newest slot speaks for all.
        """
        is_mine, begin = True, self._loop.time()
        try:
            is_mine = await self._is_mine(slots[-1])
            if not is_mine and await turn.comes(self._bus, self._settings, slots[-1]):
                self._freshness.forget()
                self._prices.forget()
                slots.clear()
            waited, past = timedelta(seconds=self._loop.time() - begin), _Past(self._market, self._cron)
            while slots:
                # The wait for the turn makes no slot past, not even one of a schedule of seconds.
                is_live = not is_past(self._cron, slots[0], datetime.now(UTC) - waited)
                self._keep(await (self._fetch(slots[0]) if is_live else past.fetch(slots[0])))
                slots.pop(0)
        except asyncio.CancelledError:
            # If another worker claimed the slot, publish nothing: an event without data would win over one with data
            # that is on its way.
            if is_mine:
                self._outbox.add(Event(timestamp=slots.pop(0)))
            raise

    def _keep(self, made: Event) -> None:
        """Have the event delivered. The outbox has it before the outcome is in doubt."""
        self._outbox.hold(made)
        self._news.set()
        if not self._gaps and (waiting := self._outbox.oldest()) and waiting.slot == made.timestamp:
            self._after_sending(self._outbox.flush)
        else:
            self._outbox.flush()  # it is not sent yet: others are before it

    def _after_sending(self, work: Callable[..., None], *args: Event) -> None:
        """Do what can wait until the event is sent; at once while NATS is away."""
        if self._bus.is_connected:
            self._loop.call_later(HEAD_START_SECONDS, work, *args)
        else:
            work(*args)

    async def _fetch(self, slot: datetime) -> Event:
        made = await tick.make(slot, self._market, budget(self._cron, slot))
        for metric in (self._freshness, self._prices):
            self._after_sending(metric.look, made)
        return made

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
        await tick.publish(waiting.slot, waiting.body, self._settings, self._bus)
        self._outbox.remove(waiting.slot)

    async def _catch_up(self) -> None:
        """Look for slots that passed unseen, and make those that neither the stream nor the outbox has.

        Nothing is delivered before this is done: the stream's newest event would then hide the gap.
        """
        await self._slots.join()
        gaps, newest, policy = list(self._gaps), self._last, self._settings.missed_slots
        published = await self._history(newest)
        missed, wanted = catchup.plan(
            self._cron, published, self._outbox.slots(), since=gaps[0], newest=newest, policy=policy
        )
        catchup.tell(missed, policy, self._cron)
        try:
            if wanted:
                await lifecycle.finish(self._make(wanted))
        finally:
            # Also when the worker was stopped, if it was making the last one.
            if not wanted:
                del self._gaps[: len(gaps)]

    async def _history(self, newest: datetime) -> list[history.Published]:
        prompt = partial(catchup.is_prompt, cron=self._cron, now=newest)
        is_told = False
        while True:
            connection = await self._bus.connection()
            try:
                return await history.newest(connection, self._settings.feed, prompt)
            except LINK_ERRORS as error:
                if not is_told:
                    log.warning("[CRON] Cannot read the stream yet (%s)", errors.text(error))
                is_told = True
                await asyncio.sleep(HISTORY_RETRY_SECONDS)


class _Past:
    """Fetches past slots one after the other. When the time for all of them is up, the others go without data."""

    def __init__(self, market: Market | None, cron: Cron) -> None:
        self._market = market
        self._cron = cron
        self._left_seconds = MAX_CATCH_UP_SECONDS
        self._rest_seconds = 0.0

    async def fetch(self, slot: datetime) -> Event:
        market = tick.past(self._market, slot)
        if market and self._left_seconds <= 0:
            log.info("[MARKET] No data for %s: the market took too long for the slots before", event.text(slot))
            market = None
        if market is None:
            return Event(timestamp=slot)
        await asyncio.sleep(self._rest_seconds)
        begin = time.monotonic()
        made = await tick.make(slot, market, min(budget(self._cron, slot), self._left_seconds))
        took = time.monotonic() - begin
        self._rest_seconds = tick.rest(took)
        self._left_seconds -= took + self._rest_seconds
        return made
