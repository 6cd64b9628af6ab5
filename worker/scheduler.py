"""The thread that hands each slot over when it is due, as a job of the `schedule` library."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import schedule

from crypto_updates.clock.cron import Cron
from crypto_updates.service.errors import CryptoUpdatesError

log = logging.getLogger(__name__)

Clock = Callable[[], datetime]
Hand = Callable[[datetime], None]

# Event.wait counts on the monotonic clock, which stands still while the machine is suspended and does not notice when
# somebody sets the wall clock. So the thread looks at the wall clock at least this often.
MAX_WAIT_SECONDS = 30.0
# Two looks that are closer tell no pace, because the thread may be interrupted between the readings of the two clocks.
MIN_PACE_SECONDS = 0.1
# The thread may be this late with a look before /readyz says so.
MAX_LATE_SECONDS = 10.0
# A thread that has died or hangs does not come back. Whoever asks /readyz gets this long to learn why the worker ends.
FAIL_SECONDS, CHECK_EVERY_SECONDS = 10.0, 1.0
# After an error in the thread itself.
RETRY_SECONDS = 1.0
# A slot is announced so much earlier. No schedule has two slots within a second.
AHEAD = timedelta(seconds=0.5)
# NTP makes smaller corrections of the wall clock every day.
SET_BACK = timedelta(seconds=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


class SchedulerError(CryptoUpdatesError):
    """The scheduler hands over no more slots."""


class SlotJob(schedule.Job):
    """A job on the slots of a cron expression: aware instants, whatever TZ and DST the process lives in.

    `schedule.Job` counts from the end of the last run, in naive local time. Here each slot follows from the schedule.
    When several slots are due at once, the newest is handed over, and the pipeline looks for those before it.
    When `hand` raises, the error is logged and the job moves on.
    Each slot is handed over earlier by `ahead`.
    """

    def __init__(
        self, cron: Cron, hand: Hand, *, scheduler: schedule.Scheduler, clock: Clock, ahead: timedelta = timedelta()
    ) -> None:
        super().__init__(1, scheduler)
        self.unit = "slots"  # for repr()
        self._cron, self._hand, self._clock, self._ahead = cron, hand, clock, ahead
        self.aim(clock())
        self.do(self._hand_over)

    @property
    def due(self) -> datetime:
        """When the job is to run."""
        return self.slot - self._ahead

    @property
    def should_run(self) -> bool:
        return self._clock() >= self.due

    def aim(self, now: datetime) -> None:
        """Let `slot`, the next one due, be the first after `now`.

        After the clock was set back, slots come a second time; they have the same ids, so the stream keeps the first.
        """
        self.slot = self._cron.next(now + self._ahead)
        self._following = self._cron.next(self.slot)
        self._schedule_next_run()

    def _schedule_next_run(self) -> None:
        self.next_run = self.due

    def _hand_over(self) -> None:
        now = self._clock()
        reached = now + self._ahead
        try:
            self._hand(self.slot if reached < self._following else self._cron.previous(reached))
        except Exception:
            log.exception("[CRON] The slot's job failed; the next slot comes at its time")
        self.aim(now)


class Scheduler(threading.Thread):
    """Hands over each slot at its time, on a thread of its own, so `hand` should only pass it on.

    `announce` is given each slot a little earlier. The first slot is the one after `begin` (now),
    also when it has passed.
    """

    def __init__(
        self,
        cron: Cron,
        hand: Hand,
        announce: Hand | None = None,
        *,
        clock: Clock = utc_now,
        begin: datetime | None = None,
    ) -> None:
        super().__init__(name="scheduler", daemon=True)
        self._cron, self._clock, self._seen = cron, clock, begin or clock()
        self._stopped = threading.Event()
        self._schedule = schedule.Scheduler()
        self._job = SlotJob(cron, hand, scheduler=self._schedule, clock=clock)
        self._jobs = [self._job]
        if announce:
            self._jobs.append(SlotJob(cron, announce, scheduler=self._schedule, clock=clock, ahead=AHEAD))
        for job in self._jobs:
            job.aim(self._seen)
        self._looked = time.monotonic()
        self._paced = self._seen, self._looked
        self._pace: float | None = None  # not known yet

    @property
    def problem(self) -> str | None:
        """Why no slot can come: the thread has died, or has not looked at the clock for too long."""
        if not self.is_alive():
            return "the scheduler's thread has ended"
        seconds = time.monotonic() - self._looked
        if seconds > MAX_WAIT_SECONDS + MAX_LATE_SECONDS:
            return f"the scheduler's thread has not looked at the clock for {seconds:.0f} s"
        return None

    async def watch(self) -> None:
        """Return never. Raises SchedulerError when a problem lasts, so that a supervisor starts the worker again."""
        since = None
        while True:
            problem, now = self.problem, time.monotonic()
            since = (since or now) if problem else None
            if since and now - since >= FAIL_SECONDS:
                raise SchedulerError(f"{problem}: ending, so that the worker is started again")
            await asyncio.sleep(CHECK_EVERY_SECONDS)

    def start(self) -> None:
        log.info("[CRON] Scheduled job initialized (%s)", self._cron.words)
        for remark in self._cron.remarks:
            log.warning("[CRON] SCHEDULE=%s: %s", self._cron.expression, remark)
        super().start()

    def run(self) -> None:
        seconds = 0.0
        while not self._stopped.wait(seconds):
            try:
                self._schedule.run_pending()
                seconds = self._delay()
            except Exception:
                log.exception("[CRON] The scheduler failed; trying again")
                seconds = RETRY_SECONDS

    def stop(self, timeout: float | None = None) -> None:
        """End the thread, and wait for it up to `timeout` seconds."""
        self._stopped.set()
        if self.is_alive():
            self.join(timeout)

    def _delay(self) -> float:
        """Seconds until the next slot, or until the next look at the clock."""
        now, looked = self._clock(), time.monotonic()
        self._looked = looked
        self._measure(now, looked)
        if self._seen - now >= SET_BACK:
            for job in self._jobs:
                job.aim(now)
            log.warning("[CRON] Clock set back from %s to %s: next slot %s", self._seen, now, self._job.slot)
        self._seen = now
        left = max((min(job.due for job in self._jobs) - now).total_seconds(), 0.0)
        return min(left / self._pace, MAX_WAIT_SECONDS) if self._pace else min(left, MIN_PACE_SECONDS)

    def _measure(self, now: datetime, looked: float) -> None:
        """A clock that runs ahead, as a test's may by 15 minutes in a second, is not waited for at the usual pace."""
        seen, at = self._paced
        if looked - at >= MIN_PACE_SECONDS:
            self._pace = max((now - seen).total_seconds() / (looked - at), 1.0)
            self._paced = now, looked
