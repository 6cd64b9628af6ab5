"""The slots of a span: counted, compared with what is stored, and named where they are missing."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_updates.clock import slots
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.slots import Gap, Row, Stored

QUARTERS = Cron("*/15 * * * *")
NOON = datetime(2023, 11, 21, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ON_TIME = Stored(1.0, data=True)


def quarter(number: int) -> datetime:
    return NOON + number * 15 * MINUTE


def compared(stored: dict[datetime, Stored], end: datetime = NOON + HOUR) -> Row:
    return slots.compare(QUARTERS, NOON, end, stored)


def test_both_ends_of_a_span_count() -> None:
    row = compared({quarter(number): ON_TIME for number in range(5)})
    assert (row.expected, row.stored, row.missing, list(row.gaps)) == (5, 5, 0, [])


def test_a_slot_is_not_yet_expected_in_the_second_before_it() -> None:
    assert compared({}, NOON + HOUR - SECOND).expected == 4
    assert slots.compare(QUARTERS, NOON + SECOND, NOON + HOUR, {}).expected == 4


def test_fractions_of_a_second_change_nothing() -> None:
    half = timedelta(microseconds=500_000)
    assert slots.compare(QUARTERS, NOON + half, NOON + HOUR + half, {}).expected == 5


def test_missing_slots_in_succession_are_one_gap() -> None:
    row = compared({quarter(1): ON_TIME})
    assert list(row.gaps) == [Gap(NOON, NOON, 1), Gap(quarter(2), quarter(4), 3)]
    assert (row.expected, row.stored, row.missing) == (5, 1, 4)


def test_an_event_at_no_slot_makes_up_for_none() -> None:
    row = compared({quarter(number) + SECOND: ON_TIME for number in range(4)})
    assert (row.expected, row.stored, row.strays) == (5, 0, 4)


@pytest.mark.parametrize(("lag", "late"), [(None, 0), (-5.0, 0), (242.0, 0), (242.1, 1)])
def test_an_event_is_late_when_its_worker_was_not_allowed_so_long(lag: float | None, late: int) -> None:
    assert compared({NOON: Stored(lag, data=True)}).late == late


def test_the_time_allowed_is_that_of_the_slot() -> None:
    """A fetch may take half a minute if the next slot comes in a minute, and four minutes if in an hour."""
    cron = Cron("0,1 * * * *")
    stored = {NOON: Stored(100, data=True), NOON + MINUTE: Stored(100, data=True)}
    assert slots.compare(cron, NOON, NOON + MINUTE, stored).late == 1


@pytest.mark.parametrize(
    ("milliseconds", "slot"), [(-1, None), (0, NOON), (26, NOON), (999, NOON), (1000, None), (1001, None)]
)
def test_an_event_of_no_feed_counts_for_the_slot_less_than_a_second_before_it(
    milliseconds: int, slot: datetime | None
) -> None:
    at = NOON + timedelta(milliseconds=milliseconds)
    assert slots.of(QUARTERS, at) == slot
    second = NOON + milliseconds // 1000 * SECOND
    assert slots.of(Cron("* * * * * *"), at) == second


def test_the_lacking_slots_are_named_by_their_first_and_last() -> None:
    stored = {quarter(number) for number in range(5)}
    assert slots.lacking(QUARTERS, NOON, NOON + HOUR, stored) is None
    assert slots.lacking(QUARTERS, NOON, NOON + HOUR, stored - {quarter(3)}) == (quarter(3), quarter(3))
    assert slots.lacking(QUARTERS, NOON, NOON + HOUR, {quarter(1), quarter(2)}) == (NOON, quarter(4))
    assert slots.lacking(QUARTERS, NOON + SECOND, NOON + HOUR - SECOND, {quarter(2)}) == (quarter(1), quarter(3))


def test_foreign_events_are_counted_as_stored_and_marked() -> None:
    foreign = Stored(0.5, data=False, foreign=True)
    stored = {NOON: ON_TIME, quarter(1): foreign, quarter(2): foreign._replace(lag=500.0)}
    row = compared(stored)
    assert (row.stored, row.late, row.foreign) == (3, 1, 2)
    assert slots.total(QUARTERS, [row, row]).foreign == 4
    cells = slots.cells(QUARTERS, NOON - SECOND, quarter(3), NOON, stored)
    assert [(cell.state, cell.foreign) for cell in cells] == [
        ("stored", False),
        ("stored", True),
        ("late", True),
        ("pending", False),
    ]


def test_events_without_data_are_counted() -> None:
    assert compared({NOON: Stored(None, data=False), quarter(1): ON_TIME}).bare == 1


def test_the_lags_are_in_order_and_known_ones_only() -> None:
    lags = [3.0, None, 1.0, 2.0]
    row = compared({quarter(number): Stored(lag, data=True) for number, lag in enumerate(lags)})
    assert list(row.lags) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("percent", "expected"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.1, 100), (100, 100)]
)
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float) -> None:
    assert slots.percentile(range(1, 101), percent) == expected


def test_of_nothing_there_is_no_percentile() -> None:
    assert slots.percentile([], 50) is None


def test_the_total_of_a_day_by_hours_is_the_day_whatever_is_missing() -> None:
    end = NOON + DAY
    spans = list(slots.pieces(QUARTERS, NOON, end))
    stored = {quarter(number): Stored(number, data=number % 2 > 0) for number in (0, 3, 4, 5, 9, 60, 95)}
    parts = [{slot: event for slot, event in stored.items() if start <= slot <= stop} for start, stop in spans]
    rows = [slots.compare(QUARTERS, *span, part) for span, part in zip(spans, parts, strict=True)]
    assert len(rows) == 25
    assert slots.total(QUARTERS, rows) == slots.compare(QUARTERS, NOON, end, stored)


@given(
    start=st.integers(-(3 * 10**8), 3 * 10**8).map(lambda seconds: NOON + seconds * SECOND),
    seconds=st.integers(0, 10**8),
    schedule=st.sampled_from(["* * * * * *", "*/15 * * * *", "@hourly", "@daily", "0 0 29 2 *"]),
)
def test_the_pieces_of_a_span_leave_no_second_out_and_have_none_twice(
    start: datetime, seconds: int, schedule: str
) -> None:
    end = start + timedelta(seconds=seconds)
    pieces = list(slots.pieces(Cron(schedule), start, end))
    assert (pieces[0][0], pieces[-1][1]) == (start, end)
    assert all(before[1] + SECOND == after[0] for before, after in pairwise(pieces))
    assert all(first <= last for first, last in pieces)


@pytest.mark.parametrize(
    ("schedule", "span", "first", "count"),
    [
        ("*/15 * * * *", 90 * MINUTE, NOON + 59 * MINUTE, 2),
        ("* * * * * *", 90 * MINUTE, NOON + 9 * MINUTE, 10),
        ("*/15 * * * *", DAY, NOON + 59 * MINUTE, 25),
        ("*/15 * * * *", 30 * DAY, NOON + 11 * HOUR + 59 * MINUTE, 31),
        ("@daily", 7 * DAY, datetime(2023, 11, 26, 23, 59, tzinfo=UTC), 2),
        ("*/15 * * * *", 365 * DAY, datetime(2023, 11, 26, 23, 59, tzinfo=UTC), 53),
    ],
)
def test_a_row_is_as_short_as_a_person_can_read(schedule: str, span: timedelta, first: datetime, count: int) -> None:
    """2023-11-26 is the Sunday after."""
    pieces = list(slots.pieces(Cron(schedule), NOON, NOON + span))
    assert pieces[0] == (NOON, first + 59 * SECOND)
    assert len(pieces) == count


def test_a_span_that_ends_before_it_starts_has_no_pieces() -> None:
    assert list(slots.pieces(QUARTERS, NOON, NOON - SECOND)) == []


def test_a_gap_over_the_rows_is_one_and_a_stored_slot_parts_it() -> None:
    one, two, three = Gap(NOON, quarter(1), 2), Gap(quarter(2), quarter(3), 2), Gap(quarter(5), quarter(5), 1)
    rows = [Row(NOON, 9, 0, 0, 0, [gap], []) for gap in (one, two, three)]
    assert slots.total(QUARTERS, rows).gaps == [Gap(NOON, quarter(3), 4), three]


def test_gaps_are_named_up_to_a_number_and_then_the_slots_are_counted() -> None:
    gaps = [Gap(NOON, NOON, 1), Gap(quarter(2), quarter(3), 2), Gap(quarter(5), quarter(9), 5)]
    assert slots.named(gaps, 1) == "2023-11-21T12:00:00Z and 7 more"
    assert slots.named(gaps[:2], 2) == "2023-11-21T12:00:00Z, 2023-11-21T12:30:00Z to 2023-11-21T12:45:00Z (2 slots)"


@pytest.mark.parametrize(("schedule", "seconds"), [("*/15 * * * *", 242), ("* * * * * *", 2.5), ("* * * * *", 32)])
def test_the_grace_is_the_workers_limit_and_the_way(schedule: str, seconds: float) -> None:
    assert slots.grace(Cron(schedule), NOON) == timedelta(seconds=seconds)


def states(now: datetime, beginning: datetime | None, stored: dict[datetime, Stored]) -> list[str]:
    return [cell.state for cell in slots.cells(QUARTERS, NOON - SECOND, now, beginning, stored)]


def test_a_slot_without_an_event_is_missing_once_its_time_and_the_grace_are_over() -> None:
    grace = slots.grace(QUARTERS, NOON)
    assert states(NOON + grace - SECOND, NOON - DAY, {}) == ["pending"]
    assert states(NOON + grace, NOON - DAY, {}) == ["missing"]
    assert states(NOON + grace - SECOND, NOON - DAY, {NOON: ON_TIME}) == ["stored"]


def test_before_the_first_event_nothing_is_missing() -> None:
    later = quarter(3) + 10 * MINUTE
    assert states(later, quarter(2), {quarter(2): ON_TIME}) == ["before", "before", "stored", "missing"]
    assert states(later, None, {}) == ["before"] * 4


def test_a_late_event_is_stored_too_and_the_undecided_do_not_count() -> None:
    stored = {NOON: ON_TIME, quarter(1): Stored(500.0, data=False)}
    cells = slots.cells(QUARTERS, NOON - 30 * MINUTE, quarter(3), NOON, stored)
    assert [cell.state for cell in cells] == ["before", "stored", "late", "missing", "pending"]
    assert slots.figures(cells) == {"expected": 3, "stored": 2, "late": 1, "missing": 1}
    assert (cells[2].lag, cells[2].data) == (500.0, False)


@pytest.mark.parametrize(
    ("schedule", "count"),
    [("*/15 * * * *", 96), ("* * * * * *", 86_400), ("@yearly", 0), ("0,1 * * * *", 48), ("* * 0-9 * * *", 39_600)],
)
def test_it_is_known_how_many_slots_a_day_has(schedule: str, count: int) -> None:
    """Or an hour's more, at each end of a run of hours."""
    assert slots.about(Cron(schedule), NOON - DAY, NOON) == count


@pytest.mark.parametrize("hour", [0, 12, 23.5])
@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("*/20 * 0-22 * * *", "UTC"),
        ("*/10 * 12 * * *", "UTC"),
        ("* 59 * * * *", "UTC"),
        ("* 0-9 3 * * SAT-SUN", "UTC"),
        ("*/5 0-3 * * *", "Asia/Kolkata"),
        ("*/7 1-3 * * *", "Europe/Berlin"),
        ("*/7 * * * *", "Australia/Lord_Howe"),
    ],
)
def test_an_uneven_schedule_never_has_more_slots(schedule: str, zone: str, hour: float) -> None:
    """Over the change of the clock in Berlin, at any time of the day."""
    cron, days = Cron(schedule, zone), 3
    end = datetime(2023, 10, 30, tzinfo=UTC) + hour * HOUR
    exact = sum(1 for _ in cron.between(end - days * DAY, end))
    assert exact <= slots.about(cron, end - days * DAY, end) <= exact + 2 * days * cron.most_in_an_hour


def test_a_week_of_a_slot_a_second_is_counted_when_the_newest_two_are_an_hour_apart() -> None:
    end = NOON + 11 * HOUR + 30 * MINUTE
    assert 579_600 <= slots.about(Cron("* * 0-22 * * *"), end - 7 * DAY, end) <= 604_800


def test_a_rows_span_is_chosen_for_the_slots_that_there_mostly_are() -> None:
    """At 23:30, the newest two slots are an hour apart, and all others a second."""
    end = NOON + 11 * HOUR + 30 * MINUTE
    assert len(list(slots.pieces(Cron("* * 0-22 * * *"), end - 90 * MINUTE, end))) == 10


@pytest.mark.parametrize(
    ("schedule", "window"),
    [
        ("*/15 * * * *", DAY),
        ("@daily", DAY),
        ("*/5 * * * *", DAY),
        ("* * * * *", 5 * HOUR),
        ("* * 9 * * *", 5 * MINUTE),
    ],
)
def test_a_window_is_a_day_or_has_room_for_so_many_slots(schedule: str, window: timedelta) -> None:
    assert slots.window(Cron(schedule), 300) == window
