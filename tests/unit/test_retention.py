"""From which time on slots count where events go by their age, and which ages are too short."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Self, cast

import pytest
from pymongo.asynchronous.database import AsyncDatabase

from api_stub import indexes, retention
from api_stub.retention import Beginning
from crypto_updates.clock.cron import Cron

NOW = datetime(2023, 11, 21, 14, 37, 1, 500_000, UTC)  # a Tuesday
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
FLOOR = datetime(2023, 11, 20, 14, 39, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "found"),
    [
        (None, Beginning(None, DAY)),
        (NOW - HOUR, Beginning(NOW - HOUR, DAY)),
        (FLOOR, Beginning(FLOOR, DAY)),
        (FLOOR - DAY, Beginning(FLOOR, DAY, is_aged=True)),
    ],
)
def test_a_feed_begins_at_its_first_slot_or_where_its_kept_events_do(first: datetime | None, found: Beginning) -> None:
    assert retention.beginning(first, DAY, NOW) == found


def test_an_age_shorter_than_the_margin_expects_no_slot() -> None:
    assert retention.beginning(FLOOR, MINUTE, NOW).at == NOW.replace(microsecond=0)


@pytest.mark.parametrize(
    ("schedule", "at", "minutes"),
    [
        ("*/15 * * * *", NOW, 22),
        ("* * * * * *", NOW, 3),
        ("0 0 * * *", NOW, 1447),
        ("*/15 9-16 * * 1-5", NOW + 4 * DAY, 22),
        ("*/15 9-16 * * 1-5", datetime(2023, 11, 27, 9, 5, tzinfo=UTC), 22),
    ],
    ids=["quarters", "seconds", "days", "in a weekend", "after one"],
)
def test_an_age_is_long_enough_when_a_slot_is_kept_until_the_next_one_is_judged(
    schedule: str, at: datetime, minutes: int
) -> None:
    assert retention.least(Cron(schedule), at) == minutes * MINUTE


def test_an_age_that_is_too_short_to_see_a_missing_slot_is_told_with_the_shortest_that_is_not() -> None:
    assert retention.lack(HOUR, HOUR, HOUR) is None
    assert retention.lack(None, None, HOUR) is None
    assert retention.lack(5 * MINUTE, 5 * MINUTE, 22 * MINUTE) == (
        "events go 5m after their slot, before it is seen whether one is missing: with this SCHEDULE, set MAX_EVENT_AGE"
        " to 22m or more"
    )


class Listing:
    """A database and its collections."""

    def __init__(self) -> None:
        self.listed: list[str] = []

    def __getitem__(self, name: str) -> Self:
        self.listed.append(name)
        return self

    async def list_indexes(self) -> Self:
        return self

    async def to_list(self) -> list[Mapping[str, Any]]:
        return []


async def test_the_indexes_of_a_collection_are_asked_for_once() -> None:
    database = Listing()
    found = await indexes.listed(cast(AsyncDatabase[dict[str, Any]], database))
    assert database.listed == ["events", "dead_letters"]
    assert len(indexes.missing(found)) == len(indexes.INDEXES)
    assert indexes.missing({}) == []
