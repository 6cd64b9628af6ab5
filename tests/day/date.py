"""Which days are run, and the slots of each. It counts quarters of an hour, without the code under test."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import NamedTuple
from zoneinfo import ZoneInfo

DAY, HOUR, QUARTER = timedelta(days=1), timedelta(hours=1), timedelta(minutes=15)
SCHEDULE = "*/15 * * * *"
# SCHEDULE_TZ of each day, and the hours from its midnight to the next one.
DAYS = {"plain": ("UTC", 24), "spring": ("Europe/Berlin", 23), "autumn": ("Europe/Berlin", 25)}


class Day(NamedTuple):
    """A day of a zone. `begin` and `end`: its two midnights, in UTC."""

    name: str
    zone: str
    begin: datetime
    end: datetime

    @property
    def slots(self) -> list[datetime]:
        """All of the day, and of the 24 hours from its begin when it is shorter."""
        until = max(self.end, self.begin + DAY)
        return [self.begin + number * QUARTER for number in range((until - self.begin) // QUARTER)]


def upcoming(name: str, today: date) -> Day:
    """The next such day after today. A time in the past would be older than what nats-server writes beside an event."""
    zone, hours = DAYS[name]
    for number in count(1):
        begin, end = (midnight(today + timedelta(number + more), zone) for more in (0, 1))
        if end - begin == hours * HOUR:
            return Day(name, zone, begin, end)
    raise AssertionError


def midnight(day: date, zone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(zone)).astimezone(UTC)
