"""The thread that hands each slot over when it is due, and the slot job that it runs on the `schedule` library."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import schedule

from crypto_updates.clock.cron import Cron

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

    `schedule.Job` counts from the end of the last run, in naive local time. Here each slot follows from the schedule.
    Of several slots that are due at once, the older ones go to `missed`, in order, and then the newest to `hand`.
    What either raises is logged, and the job moves on.
    """

    def __init__(
        self,
        cron: Cron,
        hand: Callable[[datetime], None],
        *,
        missed: Callable[[list[datetime]], None],
        scheduler: schedule.Scheduler,
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(1, scheduler)
        self.unit = "slots"  # for repr()
        self._cron, self._hand, self._missed, self._clock = cron, hand, missed, clock
        self.aim(clock())
        self.do(self._hand_over)

    @property
    def slot(self) -> datetime:
        """The next slot due."""
        return self._slot

    @property
    def should_run(self) -> bool:
        return self._clock() >= self._slot

    def aim(self, now: datetime) -> None:
        """The first slot after `now` is the next one.

        Where the clock was set back, slots come a second time; they have the same ids, so the stream keeps the first.
        """
        self._slot = self._cron.next(now)
        self._schedule_next_run()

    def _schedule_next_run(self) -> None:
        self.next_run = self._slot

    def _hand_over(self) -> None:
        now = self._clock()
        *older, newest = self._due(now)
        self.aim(now)
        if older:
            _call(self._missed, older)
        _call(self._hand, newest)

    def _due(self, now: datetime) -> list[datetime]:
        """The slots that are due, one at least."""
        start = max(self._slot - datetime.resolution, now - MAX_AGE)
        return list(self._cron.between(start, now)) or [self._slot]


class Scheduler(threading.Thread):
    """Hands over each slot at its time, on a thread of its own, so `hand` and `missed` should only pass it on."""

    def __init__(
        self,
        cron: Cron,
        hand: Callable[[datetime], None],
        *,
        missed: Callable[[list[datetime]], None],
        clock: Clock = utc_now,
    ) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._cron, self._clock, self._seen = cron, clock, clock()
        self._stopped = threading.Event()
        self._schedule = schedule.Scheduler()
        self._job = SlotJob(cron, hand, missed=missed, scheduler=self._schedule, clock=clock)

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
            self._job.aim(now)
            logger.warning("[CRON] Clock set back from %s to %s: next slot %s", self._seen, now, self._job.slot)
        self._seen = now
        return min(max((self._job.slot - now).total_seconds(), 0.0), MAX_WAIT)


def _call(function: Callable[[T], None], argument: T) -> None:
    try:
        function(argument)
    except Exception:
        logger.exception("[CRON] The slot's job failed; the next slot comes at its time")
