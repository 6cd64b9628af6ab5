"""The thread that hands each slot over when it is due, and the slot job that it runs on the `schedule` library."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import schedule

from worker.cron import Cron

logger = logging.getLogger(__name__)

Clock = Callable[[], datetime]
T = TypeVar("T")

# Event.wait counts on the monotonic clock, which stands still while the machine is suspended and knows nothing of the
# wall clock being set: looking at the wall clock this often (seconds) bounds how late either is noticed.
MAX_WAIT = 30.0
# Smaller corrections of the wall clock are NTP's daily work.
STEP = timedelta(seconds=1)
# Bounds what a clock makes of a schedule that starts in 1970 and is then set right.
MAX_AGE = timedelta(days=30)


def utc_now() -> datetime:
    return datetime.now(UTC)


class SlotJob(schedule.Job):
    """A job on the slots of a cron expression: aware instants, whatever TZ and DST the process lives in.

    `schedule.Job` counts from the end of the last run, in naive local time. Here each slot follows from the last one.
    Of several slots that are due at once, the older ones go to `missed`, in order, and then the newest to `hand`.
    What either raises is logged, and the job moves on. No slot goes to `hand` twice, even where the clock is set back.
    """

    def __init__(
        self,
        cron: Cron,
        hand: Callable[[datetime], None],
        *,
        missed: Callable[[list[datetime]], None],
        scheduler: schedule.Scheduler,
        clock: Clock = utc_now,
        first: datetime | None = None,
    ) -> None:
        """`first` is the first slot wanted, past or future; by default that is the first one after now."""
        super().__init__(1, scheduler)
        self.unit = "slots"  # for repr()
        self._cron, self._hand, self._missed, self._clock = cron, hand, missed, clock
        # The first and last of each run of slots handed over without a gap. A gap is left by a stall or a step of the
        # clock, and the oldest gaps need no memory: the event's id makes a second copy harmless.
        self._handed: deque[tuple[datetime, datetime]] = deque(maxlen=1000)
        self._begin(cron.next(first - datetime.resolution if first else clock()))
        self.do(self._hand_over)

    @property
    def slot(self) -> datetime:
        """The next slot due."""
        return self._slot

    @property
    def should_run(self) -> bool:
        return self._clock() >= self._slot

    def rewind(self, now: datetime) -> None:
        """The clock was set back: what comes after `now` is due again, except what was handed over."""
        earlier = self._unhanded(self._cron.next(now))
        if earlier < self._slot:
            self._begin(earlier)
            self._schedule_next_run()

    def _schedule_next_run(self) -> None:
        self.next_run = self._slot

    def _begin(self, slot: datetime) -> None:
        self._slot = slot
        self._handed.append((slot, slot - datetime.resolution))

    def _hand_over(self) -> None:
        *older, newest = self._due(self._clock())
        first = newest if older else self._handed.pop()[0]
        self._handed.append((first, newest))
        if older:
            _call(self._missed, older)
        _call(self._hand, newest)

    def _due(self, now: datetime) -> list[datetime]:
        """The slots due, one at least; the next slot is then the one behind them."""
        due = [self._oldest(now)]
        while (slot := self._unhanded(self._cron.next(due[-1]))) <= now:
            due.append(slot)
        self._slot = slot
        return due

    def _oldest(self, now: datetime) -> datetime:
        if now - self._slot <= MAX_AGE:
            return self._slot
        slot = self._unhanded(self._cron.previous(now - MAX_AGE))
        if not self._slot < slot <= now:
            return self._slot
        logger.warning("[CRON] The clock went from %s to %s: slots before %s are left out", self._slot, now, slot)
        return slot

    def _unhanded(self, slot: datetime) -> datetime:
        """The slot, or the first one behind those handed over."""
        for first, last in sorted(self._handed):
            if first <= slot <= last:
                slot = self._cron.next(last)
        return slot


class Scheduler(threading.Thread):
    """Hands over each slot at its time, on a thread of its own, so `hand` and `missed` should only pass it on."""

    def __init__(
        self,
        cron: Cron,
        hand: Callable[[datetime], None],
        *,
        missed: Callable[[list[datetime]], None],
        clock: Clock = utc_now,
        first: datetime | None = None,
    ) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._cron, self._clock, self._seen = cron, clock, clock()
        self._stopped = threading.Event()
        self._schedule = schedule.Scheduler()
        self._job = SlotJob(cron, hand, missed=missed, scheduler=self._schedule, clock=clock, first=first)

    def start(self) -> None:
        logger.info("[CRON] Scheduled job initialized (%s)", self._cron.words)
        super().start()

    def run(self) -> None:
        while not self._stopped.wait(self._delay()):
            self._schedule.run_pending()

    def stop(self, timeout: float | None = None) -> None:
        """Ends the thread, and waits for it up to `timeout` seconds."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout)

    def _delay(self) -> float:
        """Seconds until the next slot, or until the clock is to be looked at again."""
        now = self._clock()
        if self._seen - now >= STEP:
            self._job.rewind(now)
            logger.warning("[CRON] Clock set back from %s to %s: next slot %s", self._seen, now, self._job.slot)
        self._seen = now
        return min(max((self._job.slot - now).total_seconds(), 0.0), MAX_WAIT)


def _call(function: Callable[[T], None], argument: T) -> None:
    try:
        function(argument)
    except Exception:
        logger.exception("[CRON] The slot's job failed; the next slot comes at its time")
