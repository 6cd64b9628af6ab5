"""The slot job under an injected clock, and the thread under the real one."""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import schedule

from crypto_updates.clock.cron import Cron
from tests.support import eventually
from worker import scheduler
from worker.scheduler import MAX_WAIT_SECONDS, Clock, Hand, Scheduler, SchedulerError, SlotJob, utc_now

START = datetime(2023, 11, 21, 14, 20, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
QUARTERS = "*/15 * * * *"
Start = Callable[..., Scheduler]


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2023-11-21T{text}+00:00")


def quarters(first: str, last: str) -> list[datetime]:
    return [at(first) + n * 15 * MINUTE for n in range((at(last) - at(first)) // (15 * MINUTE) + 1)]


class Bench:
    """A slot job on the real `schedule.Scheduler`, with a clock that the test sets."""

    def __init__(self, expression: str = QUARTERS, start: datetime = START) -> None:
        self.now, self.handed = start, list[datetime]()
        self.pending = schedule.Scheduler()
        self.cron = Cron(expression)
        self.job = SlotJob(self.cron, self.handed.append, scheduler=self.pending, clock=lambda: self.now)

    def run(self, *times: datetime) -> None:
        for self.now in times:
            self.pending.run_pending()

    def back(self, to: datetime) -> None:
        self.now = to
        self.job.aim(to)

    def run_slots(self, count: int) -> None:
        for _ in range(count):
            self.run(self.job.slot)


def fail(_: object) -> None:
    raise LookupError


@pytest.fixture(params=["America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"])
def _process_tz(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_a_job_ahead_of_the_slots_hands_over_each_one_earlier() -> None:
    bench = Bench()
    bench.pending.clear()
    ahead = {"clock": lambda: bench.now, "ahead": timedelta(seconds=0.5)}
    bench.job = SlotJob(bench.cron, bench.handed.append, scheduler=bench.pending, **ahead)
    bench.run(at("14:29:59.4"))
    assert bench.handed == []
    bench.run(at("14:29:59.5"), at("14:30"), at("14:44:59.6"), at("15:14:59.6"))
    assert bench.handed == [*quarters("14:30", "14:45"), at("15:15")]
    bench.back(at("14:29:59.4"))
    bench.run(at("14:29:59.5"))
    assert bench.handed[3:] == [at("14:30")]


def test_it_counts_from_the_slot_and_not_from_the_run() -> None:
    bench = Bench()
    bench.run(at("14:29:59.999999"), at("14:30:09"), at("14:45:00.001"), at("14:45:02"), at("15:14:59"))
    assert bench.handed == quarters("14:30", "15:00")


@pytest.mark.usefixtures("_process_tz")
@pytest.mark.parametrize("day", ["2024-11-03", "2024-03-10", "2024-04-06", "2024-10-05"])
def test_it_does_not_depend_on_the_time_zone_of_the_process(day: str) -> None:
    start = datetime.fromisoformat(f"{day}T00:00+00:00")
    bench = Bench(start=start)
    bench.run(*(start + n * 5 * MINUTE for n in range(1, 24 * 12 + 1)))
    assert bench.handed == [start + n * 15 * MINUTE for n in range(1, 97)]


def test_after_a_stall_it_hands_over_the_newest_slot_alone() -> None:
    bench = Bench()
    bench.run(at("15:20"), at("15:30"))
    assert bench.handed == quarters("15:15", "15:30")


@pytest.mark.parametrize("asleep", [timedelta(days=1), timedelta(days=365)])
def test_a_day_asleep_at_a_slot_a_second_is_not_walked_through(
    asleep: timedelta, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, steps, following = Bench("* * * * * *"), list[datetime](), Cron.next

    def step(cron: Cron, after: datetime) -> datetime:
        steps.append(after)
        return following(cron, after)

    monkeypatch.setattr(Cron, "next", step)
    bench.run(START + asleep)
    assert bench.handed == [START + asleep]
    assert len(steps) < 50


def test_a_clock_that_starts_in_1970_hands_over_the_newest_slot_when_it_is_set_right() -> None:
    bench = Bench(start=datetime(1970, 1, 1, tzinfo=UTC))
    bench.run(START, at("14:30"))
    assert bench.handed == quarters("14:15", "14:30")


def test_a_rare_slot_is_handed_over_however_late(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench("@yearly", start=datetime(2022, 12, 31, tzinfo=UTC))
    bench.run(START)
    assert (bench.handed, caplog.text) == ([datetime(2023, 1, 1, tzinfo=UTC)], "")


def test_no_slot_is_left_out_when_the_clock_is_set_back() -> None:
    bench = Bench()
    bench.run_slots(6)
    bench.back(at("14:50"))
    bench.run(*(at("14:50") + n * MINUTE for n in range(90)))
    assert bench.handed == quarters("14:30", "15:45") + quarters("15:00", "16:15")


def test_slots_behind_a_wrong_step_forward_come_when_it_is_taken_back() -> None:
    bench = Bench()
    bench.run_slots(1)
    bench.run(at("16:20"))
    bench.back(at("14:35"))
    bench.run(*(at("14:35") + n * MINUTE for n in range(60)))
    assert bench.handed == [at("14:30"), at("16:15"), *quarters("14:45", "15:30")]


def test_a_job_that_raises_is_logged_and_moves_on(caplog: pytest.LogCaptureFixture) -> None:
    bench, other = Bench(), Bench("* * * * *", start=at("14:30"))
    bench.job._hand = fail
    other.now = at("14:31")
    bench.pending.jobs += other.pending.jobs
    bench.run(at("14:30"), at("14:31"), at("14:32"), at("15:15"))
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError] * 2
    assert (other.handed, bench.job.slot) == ([at("14:31")], at("15:30"))


class Wall:
    """The real clock, which the test may set, and how often it was looked at."""

    offset = timedelta()
    looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        return datetime.now(UTC) + self.offset


@pytest.fixture
def start() -> Iterator[Callable[..., Scheduler]]:
    with contextlib.ExitStack() as stack:

        def start(expression: str, hand: Hand, clock: Clock = utc_now) -> Scheduler:
            thread = Scheduler(Cron(expression), hand, clock=clock)
            stack.callback(thread.stop, 5)
            thread.start()
            return thread

        yield start


def test_it_fires_at_the_slot_never_before_and_sleeps_in_between(start: Start) -> None:
    late, wall = list[float](), Wall()
    start("* * * * * *", lambda slot: late.append((datetime.now(UTC) - slot).total_seconds()), clock=wall)
    assert eventually(lambda: len(late) >= 5)
    assert min(late) >= 0
    # A busy machine may hold up some of them. A scheduler that is late by itself is late each time.
    assert sorted(late)[2] < 0.25
    assert wall.looks < 20 / 3 * len(late)


def test_it_says_when_it_is_initialized(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    start(QUARTERS, print)
    line = "[CRON] Scheduled job initialized (every 15 minutes)"
    assert caplog.record_tuples == [("worker.scheduler", logging.INFO, line)]


def test_it_warns_of_a_step_that_does_not_mean_what_it_seems_to_say(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    start("*/90 * * * *", print)
    (line,) = [line for _, level, line in caplog.record_tuples if level == logging.WARNING]
    assert line.startswith("[CRON] SCHEDULE=*/90 * * * *: minute */90 means 0, ")


def test_an_error_in_the_thread_is_logged_and_does_not_end_it(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler, "RETRY_SECONDS", 0.02)
    handed, errors = list[datetime](), iter([LookupError(), LookupError()])

    def clock() -> datetime:
        if failing and (error := next(errors, None)):
            raise error
        return datetime.now(UTC)

    failing = False
    thread = start("* * * * * *", handed.append, clock=clock)
    failing = True
    assert eventually(lambda: len(handed) >= 2)
    assert caplog.text.count("[CRON] The scheduler failed; trying again") == 2
    assert thread.problem is None


def test_a_thread_that_has_ended_or_hangs_is_a_problem(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "MAX_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(scheduler, "MAX_LATE_SECONDS", 0.1)
    goes_on = threading.Event()
    thread = start("* * * * * *", lambda _: goes_on.wait(60))
    problem = eventually(lambda: thread.problem)
    assert problem
    assert re.fullmatch(r"the scheduler's thread has not looked at the clock for \d+ s", problem)
    goes_on.set()
    assert eventually(lambda: thread.problem is None)
    thread.stop(5)
    assert thread.problem == "the scheduler's thread has ended"


async def test_a_problem_that_lasts_ends_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "CHECK_EVERY_SECONDS", 0.02)
    monkeypatch.setattr(scheduler, "FAIL_SECONDS", 0.2)
    problems = iter([None, "one", None, "two"])
    monkeypatch.setattr(Scheduler, "problem", property(lambda _: next(problems, "three")))
    begin = time.monotonic()
    with pytest.raises(SchedulerError, match=r"^three: ending, so that the worker is started again$"):
        await asyncio.wait_for(Scheduler(Cron(QUARTERS), print).watch(), 30)
    assert time.monotonic() - begin >= 0.2


def test_it_stops_within_a_second_in_the_middle_of_a_wait(start: Start) -> None:
    thread = start("@yearly", print)
    begun = time.monotonic()
    thread.stop(5)
    assert not thread.is_alive()
    assert time.monotonic() - begun < 1


@pytest.mark.parametrize(("pace", "expected"), [(1, [30, 20, 0.25, 0, 0]), (0.5, [30, 20, 0.25, 0, 0])])
def test_it_sleeps_until_the_slot_but_looks_at_the_clock_every_half_minute(
    pace: float, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert delays(pace, monkeypatch) == expected
    assert MAX_WAIT_SECONDS == 30


def test_it_sleeps_less_when_the_clock_runs_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    assert delays(100, monkeypatch) == [6, 0.2, 0.0025, 0, 0]


def test_it_keeps_the_pace_of_a_fast_clock_when_it_looks_twice_in_a_millisecond(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = (at("14:20"), at("14:20:00.020"), at("14:29:59.990"), at("14:29:59.999"))
    assert delays(100, monkeypatch, looks) == [6, 5.9998, 0.0001, 0]


def test_it_looks_again_soon_as_long_as_it_does_not_know_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    assert delays(100, monkeypatch, (at("14:18:01"), at("14:18:11"))) == [0.1, 7.09]


def test_it_sleeps_until_it_announces_the_slot_and_then_until_the_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    now, told = [at("14:20")], list[str]()

    def monotonic() -> float:
        return now[0].timestamp()

    monkeypatch.setattr(scheduler.time, "monotonic", monotonic)
    hand, announce = (lambda _, name=name: told.append(name) for name in ("due", "announced"))
    thread = Scheduler(Cron(QUARTERS), hand, announce, clock=lambda: now[0])
    for now[0], delay, expected in (
        (at("14:29:59.25"), 0.25, []),
        (at("14:29:59.5"), 0.5, ["announced"]),
        (at("14:30"), 30, ["announced", "due"]),
        (at("14:44:59.25"), 0.25, ["announced", "due"]),
    ):
        thread._schedule.run_pending()
        assert (round(thread._delay(), 4), told) == (delay, expected)


def test_a_slot_that_passes_before_the_first_look_is_handed_over() -> None:
    handed: list[datetime] = []
    thread = Scheduler(Cron(QUARTERS), handed.append, begin=at("14:29:59.9"), clock=lambda: at("14:30"))
    thread._schedule.run_pending()
    assert handed == [at("14:30")]


LOOKS = (at("14:20"), at("14:29:40"), at("14:29:59.75"), at("14:30"), at("14:31"))


def delays(pace: float, monkeypatch: pytest.MonkeyPatch, looks: Sequence[datetime] = LOOKS) -> list[float]:
    """Of looks at a clock that runs so many times as fast as the monotonic one."""
    now = [at("14:18")]
    monkeypatch.setattr(scheduler.time, "monotonic", lambda: now[0].timestamp() / pace)
    thread = Scheduler(Cron(QUARTERS), print, clock=lambda: now[0])
    return [round(thread._delay(), 4) for now[0] in looks]


def test_it_notices_that_the_clock_was_set_forward(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "MAX_WAIT_SECONDS", 0.02)
    handed, wall = list[datetime](), Wall()
    start("@hourly", handed.append, clock=wall)
    begin = datetime.now(UTC)
    wall.offset = 3 * HOUR
    assert eventually(lambda: handed)
    assert begin + 2 * HOUR < handed[0] <= datetime.now(UTC) + 3 * HOUR


def test_it_goes_on_and_warns_once_when_the_clock_was_set_back(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler, "MAX_WAIT_SECONDS", 0.02)
    handed, wall = list[datetime](), Wall()
    start("* * * * * *", handed.append, clock=wall)
    assert eventually(lambda: handed)
    wall.offset = -HOUR
    set_back = len(handed)
    assert eventually(lambda: len(handed) >= set_back + 2)
    assert handed[-1] < handed[0] - 50 * MINUTE
    assert caplog.text.count("Clock set back") == 1
