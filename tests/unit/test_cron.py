"""The schedule against tables, a brute-force reading of the local clock, and properties."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_updates.clock.cron import Cron
from crypto_updates.clock.expression import CronError

MINUTE = timedelta(minutes=1)
BERLIN, NEW_YORK, LORD_HOWE, KOLKATA = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"
# A day on either side of the changes of the clock in 2024: three zones with daylight saving time, and one without.
CHANGES = [
    (BERLIN, datetime(2024, 3, 31, 1, tzinfo=UTC)),
    (BERLIN, datetime(2024, 10, 27, 1, tzinfo=UTC)),
    (NEW_YORK, datetime(2024, 3, 10, 7, tzinfo=UTC)),
    (NEW_YORK, datetime(2024, 11, 3, 6, tzinfo=UTC)),
    (LORD_HOWE, datetime(2024, 4, 6, 15, tzinfo=UTC)),
    (LORD_HOWE, datetime(2024, 10, 5, 15, 30, tzinfo=UTC)),
    (KOLKATA, datetime(2024, 3, 31, 1, tzinfo=UTC)),
]
EXPRESSIONS = [
    "*/15 * * * *", "* * * * *", "*/20 */2 * * *", "0 */2 * * *", "*/15 3 * * *", "0,30 * * * *", "5 * * * *",
    "30 2 * * *", "0 2 * * *", "15 1,2,3 * * *", "0,20,40 0-5 * * *", "45 1 * * *", "*/30 2 * * 0", "0 0 1 * *",
    "30 */5 * * * *", "*/20 30 2 * * *", "0 30 2 * * *", "@hourly",
]  # fmt: skip


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_times(cron: Cron, day: datetime) -> list[str]:
    """The slots of the 24 hours around `day`, as its zone's clock shows them."""
    slots = cron.between(day - timedelta(hours=12), day + timedelta(hours=12))
    return [f"{slot.astimezone(cron.zone):%H:%M%z}" for slot in slots]


@pytest.mark.parametrize(
    ("expression", "after", "expected"),
    [
        ("*/15 * * * *", "2023-11-21T14:29:59.999", "2023-11-21T14:30:00"),
        ("*/15 * * * *", "2023-11-21T14:30:00", "2023-11-21T14:45:00"),
        ("*/15 * * * *", "2023-11-21T14:30:00.000001", "2023-11-21T14:45:00"),
        ("*/5 * * * * *", "2023-11-21T14:30:00.5", "2023-11-21T14:30:05"),
        ("0 0 L * *", "2024-02-01T00:00:00", "2024-02-29T00:00:00"),
        ("0 0 31 * *", "2023-03-31T00:00:00", "2023-05-31T00:00:00"),
        ("0 0 29 2 *", "2096-03-01T00:00:00", "2104-02-29T00:00:00"),
        ("0 0 29 2 */7", "2004-03-01T00:00:00", "2032-02-29T00:00:00"),
        ("0 0 13 * FRI", "2023-11-01T00:00:00", "2023-11-03T00:00:00"),
        ("@yearly", "2023-11-21T00:00:00", "2024-01-01T00:00:00"),
        ("@monthly", "2023-11-21T00:00:00", "2023-12-01T00:00:00"),
        ("@weekly", "2023-11-21T00:00:00", "2023-11-26T00:00:00"),
        (" @Daily ", "2023-11-21T00:00:00", "2023-11-22T00:00:00"),
        # A star, also in a step, joins day and weekday with "and". A full range does not.
        ("0 0 */2 * 1", "2023-11-01T00:00:00", "2023-11-13T00:00:00"),
        ("0 0 2 * */2", "2023-11-01T00:00:00", "2023-11-02T00:00:00"),
        ("0 0 1-31 * 1", "2023-11-01T00:00:00", "2023-11-02T00:00:00"),
        ("0 0 1 * 0-6", "2023-11-01T00:00:00", "2023-11-02T00:00:00"),
        ("0 0 ? * FRI", "2023-11-01T00:00:00", "2023-11-03T00:00:00"),
        ("0 0 12 15 * ?", "2023-11-01T00:00:00", "2023-11-15T12:00:00"),
        ("0 0 ?/2 * 1", "2023-11-01T00:00:00", "2023-11-13T00:00:00"),
    ],
)
def test_it_finds_the_next_slot(expression: str, after: str, expected: str) -> None:
    assert Cron(expression).next(utc(after)) == utc(expected)


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("5-5/2 * * * *", "5 * * * *"),
        ("1,5-5/2,7 * * * *", "1,5,7 * * * *"),
        ("30-30/7 5-5/2 3-3/4 * * *", "30 5 3 * * *"),
        ("0 0 1-1/3 JAN-JAN/3 *", "0 0 1 1 *"),
        ("0 0 * * mon-MON/2", "0 0 * * 1"),
        ("0 0 * * 7-7/2", "0 0 * * 0"),
        ("0 0 * * SAT-SUN", "0 0 * * 0,6"),
        ("0 0 * * FRI-SUN", "0 0 * * 5,6,0"),
        ("0 0 * * 5-0", "0 0 * * 5,6,7"),
        ("0 0 * * WED,SAT-SUN", "0 0 * * 0,3,6"),
        ("0 0 * * SAT-SUN/2", "0 0 * * 6"),
        ("0 0 * * MON-SUN/3", "0 0 * * 1,4,7"),
        ("0 0 * * SUN-SAT", "0 0 * * 0-6"),
        ("0 0 * * SUN-SUN", "0 0 * * 0"),
        ("5/20 * * * *", "5,25,45 * * * *"),
    ],
)
def test_a_term_means_what_it_says(expression: str, same: str) -> None:
    start = utc("2023-11-21T00:00:00")
    assert list(islice(Cron(expression).between(start, start.replace(year=2030)), 50)) == list(
        islice(Cron(same).between(start, start.replace(year=2030)), 50)
    )


@pytest.mark.parametrize(
    ("expression", "remark"),
    [
        ("*/90 * * * *", "minute */90 means 0, because a step begins again with each hour"),
        ("0-10/20 * * * *", "minute 0-10/20 means 0, "),
        ("*/45 * * * *", "minute */45 means 0, 45, "),
        ("*/7 * * * *", "minute */7 means 0, 7, 14, ..., 56, "),
        ("0,50/20 * * * *", "minute 50/20 means 50, "),
        ("*/100 * * * * *", "second */100 means 0, because a step begins again with each minute"),
        ("0 */36 * * *", "hour */36 means 0, because a step begins again with each day"),
        ("0 0 */31 * *", "day-of-month */31 means 1, because a step begins again with each month"),
        ("0 0 1 */12 *", "month */12 means 1, because a step begins again with each year"),
        ("0 0 * * ?/7", "day-of-week */7 means 0, because a step begins again with each week"),
    ],
)
def test_it_says_what_a_step_means_that_leaves_its_field(expression: str, remark: str) -> None:
    (found,) = Cron(expression).remarks
    assert found.startswith(remark)


@pytest.mark.parametrize(
    "expression",
    ["*/15 * * * *", "*/5 */2 */2 */3 */2", "*/1 * * * *", "5-5/2 * * * *", "8-59/17 * * * *", "0 0 L * 5L"],
)
def test_a_step_within_its_field_needs_no_remark(expression: str) -> None:
    assert Cron(expression).remarks == []


@pytest.mark.parametrize(
    ("expression", "at", "expected"),
    [
        ("*/15 * * * *", "2023-11-21T14:30:00", "2023-11-21T14:30:00"),
        ("*/15 * * * *", "2023-11-21T14:30:00.5", "2023-11-21T14:30:00"),
        ("*/15 * * * *", "2023-11-21T14:29:59.999999", "2023-11-21T14:15:00"),
        ("0 0 29 2 */7", "2032-02-28T00:00:00", "2004-02-29T00:00:00"),
    ],
)
def test_it_finds_the_newest_slot(expression: str, at: str, expected: str) -> None:
    assert Cron(expression).previous(utc(at)) == utc(expected)


def test_it_reads_the_hours_in_the_zone_and_answers_in_utc() -> None:
    slot = Cron("0 9 * * *", KOLKATA).next(datetime(2023, 11, 21, 8, tzinfo=ZoneInfo(KOLKATA)))
    assert (slot, slot.tzinfo) == (utc("2023-11-21T03:30:00"), UTC)


@pytest.mark.parametrize("ask", ["next", "previous"])
def test_it_refuses_a_naive_time(ask: str) -> None:
    with pytest.raises(ValueError, match="an aware datetime expected"):
        getattr(Cron("* * * * *"), ask)(datetime(2023, 11, 21))  # noqa: DTZ001 - the case tested


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "'': 5 fields expected (minute hour day month weekday), or 6 with seconds first, or one of @yearly"),
        ("*/15 * * *", "'*/15 * * *': 5 fields expected"),
        ("* * * * * * *", "'* * * * * * *': 5 fields expected"),
        ("@reboot", "'@reboot': 5 fields expected"),
        ("61 * * * *", "'61 * * * *': minute '61': 0-59 expected"),
        ("*/0 * * * *", "minute '*/0'"),
        ("9" * 5000 + " * * * *", "minute '999"),
        ("60 * * * * *", "second '60': 0-59 expected"),
        ("* 24 * * *", "hour '24': 0-23 expected"),
        ("* * 32 * *", "day-of-month '32': 1-31, L or LW expected"),
        ("* * * 13 *", "month '13': 1-12 or JAN-DEC expected"),
        ("* * * * 8", "day-of-week '8': 0-7 or SUN-SAT"),
        ("5-5/0 * * * *", "minute '5-5/0'"),
        ("? * * * *", "minute '?': 0-59 expected, or *, a-b with a up to b"),
        ("0 22-2 * * *", "hour '22-2': 0-23 expected, or *, a-b with a up to b"),
        ("0 0 * * FRI-MON", "day-of-week 'FRI-MON': 0-7 or SUN-SAT, 2#1 or 5L expected, or ?, *, a-b with a up to b"),
        ("0 0 L/2 * *", "day-of-month 'L/2'"),
        ("0 0 LW/2 * *", "day-of-month 'LW/2'"),
        ("0 0 31 2 *", "'0 0 31 2 *': never fires"),
        ("0 0 */20 * 0L", "never fires"),
    ],
)
def test_it_names_what_is_wrong_with_an_expression(expression: str, message: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron(expression)
    assert message in str(caught.value)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "Europe", "../zoneinfo/UTC", "Europe/Berlin\0", "x" * 5000])
def test_it_names_an_unknown_time_zone(zone: str) -> None:
    with pytest.raises(CronError) as caught:
        Cron("* * * * *", zone)
    assert str(caught.value).startswith(f"{zone!r}: not a time zone: an IANA name expected")


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("*/15 * * * *", "every 15 minutes"),
        ("0 */15 * * * *", "every 15 minutes"),
        ("* * * * *", "every minute"),
        ("* * * * * *", "every second"),
        ("*/5 * * * * *", "every 5 seconds"),
        ("0 * * * *", "every hour"),
        ("@hourly", "every hour"),
        ("0 */6 * * *", "every 6 hours"),
        ("*/7 * * * *", "*/7 * * * *"),
        ("*/15 9-17 * * *", "*/15 9-17 * * *"),
        ("30 */15 * * * *", "30 */15 * * * *"),
        ("*/5 */5 * * * *", "*/5 */5 * * * *"),
        ("0 */5 * * *", "0 */5 * * *"),
        ("@daily", "@daily"),
    ],
)
def test_it_says_the_period_only_where_it_is_uniform(expression: str, words: str) -> None:
    assert Cron(expression).words == words


def test_it_does_not_call_hours_uniform_where_the_clock_changes() -> None:
    assert Cron("0 */6 * * *", BERLIN).words == "0 */6 * * *"


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_quarter_hour_is_fifteen_real_minutes_through_a_change_of_the_clock(zone: str, change: datetime) -> None:
    slots = list(Cron("*/15 * * * *", zone).between(change - timedelta(days=1), change + timedelta(days=1)))
    assert slots == [change - timedelta(days=1) + n * 15 * MINUTE for n in range(1, 193)]


@pytest.mark.parametrize(
    ("zone", "expression", "change", "expected"),
    [
        # Skipped hour: once, at the end of the gap. Repeated hour: once, at the first pass.
        (BERLIN, "30 2 * * *", CHANGES[0][1], ["03:00+0200"]),
        (BERLIN, "30 2 * * *", CHANGES[1][1], ["02:30+0200"]),
        (NEW_YORK, "30 2 * * *", CHANGES[2][1], ["03:00-0400"]),
        (NEW_YORK, "30 1 * * *", CHANGES[3][1], ["01:30-0400"]),
        (LORD_HOWE, "45 1 * * *", CHANGES[4][1], ["01:45+1100"]),
        (LORD_HOWE, "15 2 * * *", CHANGES[5][1], ["02:30+1100"]),
        (BERLIN, "0 30 2 * * *", CHANGES[0][1], ["03:00+0200"]),
        # A star matches the clock: nothing in the gap, both passes of what is repeated.
        (BERLIN, "*/30 2 * * *", CHANGES[0][1], []),
        (BERLIN, "*/30 2 * * *", CHANGES[1][1], ["02:00+0200", "02:30+0200", "02:00+0100", "02:30+0100"]),
        (LORD_HOWE, "*/20 2-3 * * */1", CHANGES[5][1], ["02:40+1100", "03:00+1100", "03:20+1100", "03:40+1100"]),
    ],
)
def test_it_follows_debian_through_a_change_of_the_clock(
    zone: str, expression: str, change: datetime, expected: list[str]
) -> None:
    assert local_times(Cron(expression, zone), change) == expected


@pytest.mark.parametrize("second", ["00", "0-0", "0,0", "0/60", "*/60"])
def test_second_0_means_the_five_fields_however_it_is_written(second: str) -> None:
    for change in (CHANGES[0][1], CHANGES[1][1]):
        written = Cron(f"{second} 30 2 * * *", BERLIN)
        assert local_times(written, change) == local_times(Cron("30 2 * * *", BERLIN), change) != []


@pytest.mark.parametrize(("zone", "change"), CHANGES)
def test_a_daily_job_runs_once_on_each_day(zone: str, change: datetime) -> None:
    cron = Cron("30 2 * * *", zone)
    slots = list(islice(cron.between(change - timedelta(days=5), change + timedelta(days=9)), 10))
    days = [slot.astimezone(cron.zone).date() for slot in slots]
    assert days == [days[0] + timedelta(days=n) for n in range(10)]


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize(
    ("expression", "minutes", "hours"),
    [
        ("*/15 3 * * *", {0, 15, 30, 45}, {3}),
        ("0 */2 * * *", {0}, set(range(0, 24, 2))),
        ("*/20 */3 * * *", {0, 20, 40}, set(range(0, 24, 3))),
        ("*/10 1,2 * * *", {0, 10, 20, 30, 40, 50}, {1, 2}),
    ],
)
def test_a_star_fires_whenever_the_local_clock_matches(
    zone: str, change: datetime, expression: str, minutes: set[int], hours: set[int]
) -> None:
    cron = Cron(expression, zone)
    start, end = change - timedelta(days=1), change + timedelta(days=1)
    instants = [start + n * MINUTE for n in range(1, 2 * 24 * 60 + 1)]
    clock = ((instant, instant.astimezone(cron.zone)) for instant in instants)
    expected = [instant for instant, local in clock if local.minute in minutes and local.hour in hours]
    assert list(cron.between(start, end)) == expected


@pytest.mark.parametrize(("zone", "change"), CHANGES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_next_slot_is_the_same_from_wherever_one_asks(zone: str, change: datetime, expression: str) -> None:
    cron = Cron(expression, zone)
    start = change - timedelta(hours=5)
    slots = list(cron.between(start, change + timedelta(hours=5)))
    assert slots == sorted(set(slots))
    for asked in (start + n * 7 * MINUTE for n in range(85)):
        assert [slot for slot in slots if slot > asked][:1] in ([], [cron.next(asked)])


INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


NEAR = st.tuples(st.sampled_from(CHANGES), st.timedeltas(timedelta(hours=-4), timedelta(hours=4)))
CASES = st.one_of(
    st.tuples(st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, KOLKATA, "UTC"]), INSTANTS),
    NEAR.map(lambda near: (near[0][0], near[0][1] + near[1])),
)


@pytest.mark.parametrize(
    ("uniform", "listed"),
    [
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("* * * * *", "0-59 * * * *"),
        ("* * * * * *", "0-59 * * * * *"),
        ("*/20 * * * * *", "0,20,40 * * * * *"),
        ("0 */6 * * *", "0 0,6,12,18 * * *"),
    ],
)
@given(at=st.datetimes(datetime(1960, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_a_step_that_divides_its_range_has_the_slots_of_its_list(uniform: str, listed: str, at: datetime) -> None:
    """One is computed, and cronsim steps through the other."""
    for ask in (Cron.next, Cron.previous):
        assert ask(Cron(uniform), at) == ask(Cron(listed), at)
    assert list(Cron(uniform).between(at, at + 2 * MINUTE)) == list(Cron(listed).between(at, at + 2 * MINUTE))


SIZES = {"minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 6)}


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> tuple[str, set[int]]:
    """A field as text, and the numbers that it stands for."""
    texts, numbers = [], set[int]()
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(low, high))
        last, step = draw(st.integers(first, high)), draw(st.integers(1, high + 5))
        text, named = draw(
            st.sampled_from(
                [
                    ("*", range(low, high + 1)),
                    (f"*/{step}", range(low, high + 1, step)),
                    (f"{first}", range(first, first + 1)),
                    (f"{first}-{last}", range(first, last + 1)),
                    (f"{first}-{last}/{step}", range(first, last + 1, step)),
                ]
            )
        )
        texts.append(text)
        numbers.update(named)
    return ",".join(texts), numbers


@given(st.data(), INSTANTS)
@settings(max_examples=200, deadline=None)
def test_it_fires_where_the_numbers_of_all_fields_match(data: st.DataObject, start: datetime) -> None:
    """Against a reading of its own, minute by minute."""
    drawn = {name: data.draw(fields(*sizes), name) for name, sizes in SIZES.items()}
    texts = {name: text for name, (text, _) in drawn.items()}
    values = {name: numbers for name, (_, numbers) in drawn.items()}
    both = texts["day"].startswith("*") or texts["weekday"].startswith("*")

    def is_slot(at: datetime) -> bool:
        day, weekday = at.day in values["day"], at.isoweekday() % 7 in values["weekday"]
        return (
            (day and weekday if both else day or weekday)
            and at.minute in values["minute"]
            and at.hour in values["hour"]
            and at.month in values["month"]
        )

    start = start.replace(second=0, microsecond=0)
    end = start + timedelta(days=2)
    try:
        found = list(Cron(" ".join(texts.values())).between(start, end))
    except CronError:  # none of its months has such a day
        found = []
    assert found == [at for n in range(1, 2 * 24 * 60 + 1) if is_slot(at := start + n * MINUTE)]


@given(st.sampled_from(EXPRESSIONS), CASES)
@settings(max_examples=300, deadline=None)
def test_next_and_previous_agree(expression: str, case: tuple[str, datetime]) -> None:
    zone, at = case
    cron = Cron(expression, zone)
    newest, following = cron.previous(at), cron.next(at)
    assert newest <= at < following
    assert cron.next(newest) == following
    assert cron.previous(following) == following
    assert cron.previous(newest) == newest


@given(st.sampled_from(EXPRESSIONS), CASES, st.integers(1, 20))
@settings(max_examples=200, deadline=None)
def test_between_is_next_again_and_again(expression: str, case: tuple[str, datetime], count: int) -> None:
    zone, start = case
    cron = Cron(expression, zone)
    slots = [cron.next(start)]
    while len(slots) < count:
        slots.append(cron.next(slots[-1]))
    assert list(cron.between(start, slots[-1])) == slots
    assert list(cron.between(start, slots[-1] - datetime.resolution)) == slots[:-1]
    assert all(slot.tzinfo is UTC and slot.microsecond == 0 for slot in slots)
