"""Slots that passed without a worker: which they are, which are published, and what is said."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from crypto_updates.bus.history import Published
from crypto_updates.clock.cron import Cron
from worker import catchup
from worker.catchup import Policy
from worker.metrics import MISSED

QUARTERS = Cron("*/15 * * * *")
NOON = datetime(2023, 11, 21, 12, tzinfo=UTC)
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


def test_before_the_first_event_ever_only_the_newest_slot_counts() -> None:
    assert catchup.missed(QUARTERS, None, NOON + timedelta(minutes=7)) == [NOON]


def test_the_slots_after_the_last_published_one_were_missed() -> None:
    missed = catchup.missed(QUARTERS, NOON - 3 * QUARTER, NOON + timedelta(minutes=7))
    assert missed == [NOON - 2 * QUARTER, NOON - QUARTER, NOON]


def test_a_slot_is_due_at_its_very_instant() -> None:
    assert catchup.missed(QUARTERS, NOON - QUARTER, NOON) == [NOON]
    assert catchup.missed(QUARTERS, NOON - QUARTER, NOON - timedelta(microseconds=1)) == []


@pytest.mark.parametrize("ahead", [timedelta(0), QUARTER, 400 * DAY])
def test_nothing_was_missed_when_the_last_slot_is_the_newest_or_ahead_of_the_clock(ahead: timedelta) -> None:
    assert catchup.missed(QUARTERS, NOON + ahead, NOON + timedelta(minutes=7)) == []


def test_a_last_event_beside_the_schedule_is_no_obstacle() -> None:
    assert catchup.missed(QUARTERS, NOON - timedelta(minutes=20), NOON) == [NOON - QUARTER, NOON]


def test_it_looks_no_farther_back_than_the_stream_drops_second_copies() -> None:
    missed = catchup.missed(Cron("@hourly"), NOON - 30 * DAY, NOON)
    assert len(missed) == 7 * 24
    assert (missed[0], missed[-1]) == (NOON - 7 * DAY + HOUR, NOON)


def test_it_looks_at_a_bounded_number_of_slots() -> None:
    missed = catchup.missed(Cron("* * * * * *"), NOON - DAY, NOON)
    assert len(missed) == catchup.MAX_SLOTS
    assert missed[-1] == NOON


@pytest.mark.parametrize(("policy", "chosen"), [("latest", [3]), ("all", [1, 2, 3]), ("none", [])])
def test_the_policy_chooses_what_is_published(policy: Policy, chosen: list[int]) -> None:
    slots = [NOON + n * QUARTER for n in (1, 2, 3)]
    assert catchup.chosen(slots, (), policy) == [NOON + n * QUARTER for n in chosen]
    assert catchup.chosen([], (), policy) == []


@pytest.mark.parametrize(("policy", "chosen"), [("latest", []), ("all", [1]), ("none", [])])
def test_what_waits_in_the_outbox_is_not_made_again(policy: Policy, chosen: list[int]) -> None:
    slots = [NOON + n * QUARTER for n in (1, 2, 3)]
    assert catchup.chosen(slots, slots[1:], policy) == [NOON + n * QUARTER for n in chosen]


def test_all_has_a_bound_and_keeps_the_newest() -> None:
    slots = [NOON + n * QUARTER for n in range(catchup.MAX_SLOTS + 5)]
    assert catchup.chosen(slots, (), "all") == slots[5:]


@pytest.mark.parametrize(("minutes", "follows"), [(15, True), (30, False), (75, False), (0, True), (-300, True)])
def test_a_gap_is_a_slot_that_does_not_follow_the_last_one(minutes: int, *, follows: bool) -> None:
    assert catchup.follows(NOON + timedelta(minutes=minutes), NOON, QUARTERS) == follows


def plan(published: list[datetime], made: list[datetime], since: datetime | None) -> list[datetime]:
    """What was missed until three quarters past noon."""
    stored = [Published(slot, slot) for slot in published]
    missed, _ = catchup.plan(QUARTERS, stored, made, since=since, newest=NOON + 3 * QUARTER, policy="all")
    return missed


def test_what_was_missed_begins_after_the_newest_slot_that_is_known() -> None:
    before, after = NOON - 8 * QUARTER, [NOON + number * QUARTER for number in (1, 2, 3)]
    assert plan([before, NOON], [], None) == after
    assert plan([NOON], [], before) == after
    assert plan([before], [], NOON) == after  # what was looked into once is not told again
    assert plan([], [], NOON) == after  # core NATS tells nothing
    assert plan([], [NOON, after[1]], None) == [after[0], after[2]]
    assert plan([], [], None) == []  # the first start ever


@pytest.mark.parametrize(
    ("count", "policy", "line"),
    [
        (1, "latest", "1 slot from 12:00:00 to 12:00:00; publishing the latest (MISSED_SLOTS=latest)"),
        (2, "all", "2 slots from 12:00:00 to 12:15:00; publishing all (MISSED_SLOTS=all)"),
        (3, "none", "3 slots from 12:00:00 to 12:30:00; publishing none (MISSED_SLOTS=none)"),
    ],
)
def test_it_tells_what_was_missed_and_counts_it(
    count: int, policy: Policy, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = MISSED._value.get()
    catchup.tell([NOON + n * QUARTER for n in range(count)], policy, QUARTERS)
    assert caplog.record_tuples == [("worker.catchup", logging.WARNING, f"[CRON] Missed schedules: {line}")]
    assert MISSED._value.get() - before == count


def test_it_tells_times_in_the_zone_of_the_schedule(caplog: pytest.LogCaptureFixture) -> None:
    catchup.tell([NOON], "all", Cron("*/15 * * * *", "Asia/Kolkata"))
    assert "from 17:30:00 to 17:30:00" in caplog.text


def test_it_says_nothing_when_nothing_was_missed(caplog: pytest.LogCaptureFixture) -> None:
    catchup.tell([], "latest", QUARTERS)
    assert caplog.text == ""


def test_a_dense_hour_a_day_is_looked_back_through_whole_days() -> None:
    cron, now = Cron("* 9 * * *"), datetime(2023, 11, 21, 9, 30, 30, tzinfo=UTC)
    slots = catchup.missed(cron, now - timedelta(days=3), now)
    assert slots == list(cron.between(now - timedelta(days=3), now))


def test_a_rare_slot_is_missed_however_long_ago() -> None:
    cron, now = Cron("@monthly"), datetime(2023, 11, 21, 9, 30, tzinfo=UTC)
    assert catchup.missed(cron, now - timedelta(days=60), now) == [datetime(2023, 11, 1, tzinfo=UTC)]


def test_a_leap_day_schedule_is_looked_back_through() -> None:
    now = datetime(2026, 11, 23, tzinfo=UTC)
    assert catchup.missed(Cron("0 0 29 2 *"), datetime(2023, 11, 21, tzinfo=UTC), now) == [
        datetime(2024, 2, 29, tzinfo=UTC)
    ]


NOW = datetime(2026, 11, 23, 14, 35, tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "slot", "lag", "counts"),
    [
        ("*/15 * * * *", NOW - timedelta(minutes=5), timedelta(seconds=1), True),
        ("*/15 * * * *", NOW - timedelta(hours=6), timedelta(hours=5), True),  # NATS was down
        ("*/15 * * * *", NOW - timedelta(days=3), timedelta(days=2), False),  # by hand
        ("@yearly", datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=200), True),  # at the worker's first start
        ("*/15 * * * *", NOW + timedelta(days=1), timedelta(days=-1), False),  # by hand, for the future
    ],
)
def test_only_a_slot_published_in_its_time_is_the_last(
    schedule: str, slot: datetime, lag: timedelta, *, counts: bool
) -> None:
    assert catchup.is_in_time(Published(slot, slot + lag), Cron(schedule), NOW) == counts


@pytest.mark.parametrize(
    ("schedule", "slot", "lag", "is_prompt"),
    [
        ("*/15 * * * *", NOW - timedelta(minutes=5), timedelta(minutes=4), True),
        ("* * * * * *", NOW - timedelta(minutes=5), timedelta(seconds=1.5), True),
        ("*/15 * * * *", NOW - timedelta(hours=6), timedelta(hours=5), False),  # repaired, or NATS was down
        ("@yearly", datetime(2026, 1, 1, tzinfo=UTC), timedelta(days=200), True),
        ("*/15 * * * *", NOW + timedelta(days=1), timedelta(days=-1), False),  # by hand, for the future
    ],
)
def test_no_newer_slot_is_behind_an_event_that_was_stored_before_the_next_slot(
    schedule: str, slot: datetime, lag: timedelta, *, is_prompt: bool
) -> None:
    assert catchup.is_prompt(Published(slot, slot + lag), Cron(schedule), NOW) == is_prompt
