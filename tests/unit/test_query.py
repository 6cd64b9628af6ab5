"""Cursors and spans: every instant that can be written down is one that MongoDB can be asked for."""

import re
from datetime import UTC, datetime, timedelta, timezone

import bson
import pytest
from bson.datetime_ms import DatetimeMS
from hypothesis import given
from hypothesis import strategies as st

from api_stub import prices, query

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
MILLISECONDS = 1_700_577_000_000


@given(
    at=st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)),
    identity=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
)
def test_a_cursor_leads_to_what_comes_after_its_event(at: datetime, identity: str) -> None:
    cursor = query.cursor({"timestamp": at, "_id": identity}, "timestamp")
    assert re.fullmatch(r"[-0-9a-f]+", cursor)
    where = bson.decode(bson.encode(query.after(cursor, "timestamp")), bson.CodecOptions(tz_aware=True))
    beyond = {"$expr": {"$lt": ["$_id", {"$literal": identity}]}}
    assert where == {"timestamp": {"$lte": at}, "$or": [{"timestamp": {"$lt": at}}, beyond]}


@given(cursor=st.from_regex(query.CURSOR, fullmatch=True))
def test_whatever_has_the_form_of_a_cursor_can_be_asked_for(cursor: str) -> None:
    assert bson.encode(query.after(cursor, "timestamp"))


@pytest.mark.parametrize("cursor", ["", "x", "-", "1", "1-a", "1-AB", "--", "1-ab\n", "12345678901234567890-"])
def test_another_form_is_no_cursor(cursor: str) -> None:
    with pytest.raises(ValueError, match="not a cursor"):
        query.after(cursor, "timestamp")


def test_a_span_begins_with_its_first_instant_and_ends_before_its_last() -> None:
    later = SLOT + timedelta(milliseconds=1)
    asked = {"$gte": DatetimeMS(MILLISECONDS), "$lt": DatetimeMS(MILLISECONDS + 1)}
    assert query.span(SLOT, later) == {"timestamp": asked}
    assert query.span(None, None) == {"timestamp": {"$type": "date"}}


@given(at=st.datetimes(timezones=st.timezones() | st.sampled_from([timezone(timedelta(hours=h)) for h in (-23, 23)])))
def test_every_instant_can_be_asked_for(at: datetime) -> None:
    assert bson.encode(query.span(at, at))


def test_a_step_is_whole_seconds_and_gives_no_more_points_than_asked_for() -> None:
    assert prices.step(timedelta(hours=1), 60) == timedelta(minutes=1)
    assert prices.step(timedelta(hours=1), 61) == timedelta(minutes=1)
    assert prices.step(timedelta(seconds=1), 400) == timedelta(seconds=1)
