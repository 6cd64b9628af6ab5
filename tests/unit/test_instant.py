"""ISO 8601: what is an instant, and why the rest is none."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_updates.bus.event import text
from crypto_updates.bus.instant import parse

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    "instant",
    [
        *("2023-11-21T14:30:00Z", "2023-11-21T14:30Z", "20231121T143000Z", "20231121T1430Z"),
        *("2023-11-21t14:30:00z", "2023-11-21 14:30:00Z", "2023-11-21T14:30:00-00:00", "2023-11-21T14:30:00+00"),
        *("2023-11-21T15:30:00+01:00", "2023-11-21T15:30+01", "20231121T153000+0100", "20231121T1530+01"),
        *("2023-11-21T15:30:00+0100", "20231121T153000+01:00", "2023-11-21T09:00:00\u221205:30"),
        *("2023-11-22T14:29+23:59", "2023-11-20T14:31-23:59", "2023-11-21T14.5Z", "2023-11-21T14,50+00:00"),
        *("2023-11-21T14:30.0Z", "20231121T1430,00Z", "2023-11-21T14:30:00.000Z", "20231121T14,5Z"),
        "2023-11-21T14:30:00." + "0" * 5000 + "Z",
    ],
)
def test_it_reads_every_form_of_a_calendar_date_and_a_time_with_an_offset(instant: str) -> None:
    assert parse(instant) == SLOT
    assert parse(instant).tzinfo is UTC


@pytest.mark.parametrize(
    ("instant", "expected"),
    [
        ("2023-11-21T22Z", "2023-11-21T22:00:00Z"),
        ("20231121T22+01", "2023-11-21T21:00:00Z"),
        ("2023-11-21T22:15:30Z", "2023-11-21T22:15:30Z"),
        ("2023-11-21T22:15.5Z", "2023-11-21T22:15:30Z"),
        ("2023-11-21T24:00:00Z", "2023-11-22T00:00:00Z"),
        ("2023-12-31T24:00Z", "2024-01-01T00:00:00Z"),
        ("20231121T24Z", "2023-11-22T00:00:00Z"),
        ("9999-12-31T24:00+01:00", "9999-12-31T23:00:00Z"),
        ("2024-02-29T00:00Z", "2024-02-29T00:00:00Z"),
        ("0001-01-01T00:00Z", "0001-01-01T00:00:00Z"),
        ("0999-12-31T23:59:59Z", "0999-12-31T23:59:59Z"),
    ],
)
def test_it_reads_the_ends_of_days_and_of_years(instant: str, expected: str) -> None:
    assert text(parse(instant)) == expected


@pytest.mark.parametrize("offset", ["Z", "+00:00", "+0000"])
@pytest.mark.parametrize(
    ("fraction", "milliseconds"),
    [
        (".5", 500),
        (",5", 500),
        (".123456", 123),
        (".9999", 999),
        (".0009999", 0),
        (".9999999", 999),
        (".123456789", 123),
    ],
)
@pytest.mark.parametrize("second", ["1969-12-31T23:59:59", "2023-11-21T14:30:00", "9999-12-31T23:59:59"])
def test_what_is_below_a_millisecond_is_cut_toward_the_past(
    second: str, fraction: str, milliseconds: int, offset: str
) -> None:
    whole = parse(second + offset)
    assert parse(second + fraction + offset) - whole == timedelta(milliseconds=milliseconds)


NOT_ISO = "not an ISO 8601 time"
MIXED = "not of one form, basic or extended"


@pytest.mark.parametrize(
    ("instant", "problem"),
    [
        *((t, NOT_ISO) for t in ("", "soon", "14:30:00Z", "1700577000", "1.7e9", "2023-11-21T14:30:00 Z", "2023")),
        *((t, NOT_ISO) for t in ("2023-11-21T14:30:00Z ", "2023-11-21T14:30:00Z\n", "2023-11-21_14:30:00Z")),
        *((t, NOT_ISO) for t in ("2023-11-21T14:30:00.Z", "2023-11-21T14:30:00+1:00", "2023-11-21T14:30:00ZZ")),
        *((t, NOT_ISO) for t in ("2023-11T14:30Z", "2023-1-21T14:30Z", "23-11-21T14:30Z", "2023-11-21T4:30Z")),
        *((t, NOT_ISO) for t in ("٢٠٢٣-11-21T14:30:00Z", "2023-11-21T14:30:00 UTC", "2023/11/21T14:30Z")),
        *((t, MIXED) for t in ("2023-11-21T143000Z", "20231121T14:30:00Z", "20231121T14:30Z", "2023-11-21T1430+01")),
        *((t, "no offset") for t in ("2023-11-21T14:30:00", "20231121T143000", "2023-11-21T14:30", "2023-11-21T14")),
        *((t, "without a time of day") for t in ("2023-11-21", "20231121", "2023-11-21Z")),
        *((t, "leap second") for t in ("2016-12-31T23:59:60Z", "20161231T235960Z", "2017-01-01T00:59:60+01:00")),
        *((t, "week date") for t in ("2023-W47-2T14:30Z", "2023W472T1430Z", "2023-W47")),
        *((t, "ordinal date") for t in ("2023-325T14:30:00Z", "2023325T143000Z", "2023-325")),
        *(
            (t, "beyond 0001 to 9999")
            for t in ("10000-01-01T00:00:00Z", "+010000-01-01T00:00Z", "-000001-01-01T00:00Z")
        ),
        ("0000-01-01T00:00:00Z", "year 0"),
        ("2023-13-01T00:00:00Z", "month must be in 1..12"),
        ("2023-02-29T00:00:00Z", "day is out of range"),
        ("2023-02-29T00:00Z", "day is out of range"),
        *(
            (t, "hour must be in 0..23")
            for t in ("2023-11-21T25:00Z", "2023-11-21T24:00:01Z", "2023-11-21T24:00:00.1Z")
        ),
        ("2023-11-21T14:60:00Z", "minute must be in 0..59"),
        ("2023-11-21T14:30:61Z", "second must be in 0..59"),
        *((f"2023-11-21T14:30{offset}", "an offset beyond 23:59") for offset in ("+24:00", "-2400", "+01:60", "-99")),
        *((t, "beyond the years") for t in ("0001-01-01T00:00+01:00", "9999-12-31T23:59-00:01", "9999-12-31T24:00Z")),
    ],
)
def test_it_says_why_a_text_is_no_instant(instant: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse(instant)


@given(
    at=st.datetimes(*(SLOT.replace(year=year, tzinfo=None) for year in (2, 9998))),
    offset=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_whatever_python_writes_is_read(at: datetime, offset: timezone) -> None:
    aware = at.replace(tzinfo=offset, microsecond=at.microsecond // 1000 * 1000)
    assert parse(aware.isoformat()) == aware


@given(
    st.text("0123456789-+:.,TZWtz \u2212")
    | st.from_regex(r"\d{4}-?\d\d-?\d\dT\d\d(:?\d\d){0,2}([.,]\d+)?Z?", fullmatch=True)
)
def test_any_text_is_an_instant_or_a_value_error(instant: str) -> None:
    try:
        found = parse(instant)
    except ValueError:
        return
    assert found.tzinfo is UTC
    assert found.microsecond % 1000 == 0
