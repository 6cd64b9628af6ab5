"""The schedule: the instants, in UTC, that a cron expression names. Pure: time is an argument."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from cronsim.cronsim import Field

from crypto_updates.clock.expression import CronError, parse, remark

# Each with how many of them the next unit has, and with its seconds.
_UNITS = (("second", 60, 1), ("minute", 60, 60), ("hour", 24, 3600))
SECOND = timedelta(seconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)
_DAY = timedelta(days=1)
# How far cronsim looks ahead. The rarest dates, Sundays on 29 February, are up to 40 years apart.
_HORIZON_SECONDS = 50 * 365 * 24 * 3600


class Cron:
    """A cron expression in a time zone, with Debian's rules for daylight saving time (cron(8)).

    A job at fixed times (`30 2 * * *`) runs once a day: in the skipped hour at the end of the gap, in the repeated
    hour at the first pass. A job with a star for the minute or the hour runs whenever the local clock matches.
    Debian has no sixth field. An expression with seconds matches the clock too, but with 0 seconds it means the other
    five fields.

    Raises CronError for an expression or a time zone that is not valid, and for an expression that never fires.
    """

    def __init__(self, expression: str, tz: str = "UTC") -> None:
        self.expression = expression
        self.zone = _zone(tz)
        self._fields = second, minute, hour, *_ = parse(expression)
        on_the_minute = set(Field.SECOND.parse(second)) == {0}  # also as 00, 0-0 or 0/60
        self._fixed = on_the_minute and not minute.startswith("*") and not hour.startswith("*")
        # cronsim knows Debian's rules for fixed times too, but applies them only to five fields.
        self._cron = " ".join(self._fields[1:] if on_the_minute else self._fields)
        try:
            next(CronSim(self._cron, datetime(2000, 1, 1)))  # noqa: DTZ001 - wall clock time
        except (CronSimError, StopIteration) as error:
            raise CronError(f"{self.expression!r}: never fires: none of its months has such a day") from error

    @property
    def most_in_an_hour(self) -> int:
        """In 60 minutes there are at most so many slots, and in most schedules so many or none."""
        second, minute, *_ = (len(field.parse(value)) for field, value in zip(Field, self._fields, strict=True))
        return second * minute

    @property
    def remarks(self) -> list[str]:
        """A line for each step that does not mean what it seems to say, such as `*/90` minutes."""
        terms = ((field, term) for field, value in zip(Field, self._fields, strict=True) for term in value.split(","))
        return [line for field, term in terms if (line := remark(field, term))]

    @property
    def words(self) -> str:
        """`every 15 minutes` if that always holds, else the expression."""
        if self._uniform is None:
            return self.expression
        count, unit = self._uniform
        return f"every {unit}" if count == 1 else f"every {count} {unit}s"

    @cached_property
    def _uniform(self) -> tuple[int, str] | None:
        """The count and the unit of the time between two slots, if it is always the same."""
        for place, (unit, size, _) in enumerate(_UNITS):
            step = re.fullmatch(r"\*(?:/(\d+))?", self._fields[place])
            around = self._fields[:place], self._fields[place + 1 :]
            if step is None or around != (["0"] * place, ["*"] * (5 - place)):
                continue
            count = int(step[1] or 1)
            # Hours count from local midnight, so a change of the clock makes one step longer or shorter.
            if size % count == 0 and (count == 1 or unit != "hour" or self.zone is UTC):
                return count, unit
        return None

    @cached_property
    def _interval(self) -> timedelta | None:
        """The time between two slots, if they are its multiples since 1970."""
        seconds = {unit: seconds for unit, _, seconds in _UNITS}
        return self._uniform[0] * seconds[self._uniform[1]] * SECOND if self._uniform and self.zone is UTC else None

    def next(self, after: datetime) -> datetime:
        """The first slot after an aware instant, in UTC."""
        return next(self._after(_instant(after)))

    def previous(self, at: datetime) -> datetime:
        """The newest slot at or before an aware instant, in UTC."""
        at = _instant(at)
        if self._interval:
            return self.next(at) - self._interval
        slot = self._back(at)
        # Around a change of the clock, cronsim's reverse iteration names other slots than its forward iteration, and
        # a slot that `next` never returns would be published a second time.
        if slot and self.next(slot - SECOND) == slot and self.next(slot) > at:
            return slot
        back = _first(_HORIZON_SECONDS, lambda seconds: self.next(at - seconds * SECOND) <= at)
        return self.next(at - back * SECOND)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The slots after `start`, up to and including `end`."""
        return takewhile(lambda slot: slot <= end, self._after(_instant(start)))

    def _after(self, after: datetime) -> Iterator[datetime]:
        if self._interval:
            return _multiples(self._interval, after)
        if self.zone is UTC:
            return (wall.replace(tzinfo=UTC) for wall in CronSim(self._cron, after.replace(tzinfo=None)))
        return self._after_fixed(after) if self._fixed else self._after_matching(after)

    def _back(self, at: datetime) -> datetime | None:
        """The last match at or before an instant of a clock that has never changed."""
        offset = self._offset(at)
        wall = (at + offset).replace(microsecond=0, tzinfo=None) + SECOND
        match = next(CronSim(self._cron, wall, reverse=True), None)
        return match and (match - offset).replace(tzinfo=UTC)

    def _after_fixed(self, after: datetime) -> Iterator[datetime]:
        # In the second pass of a repeated hour, cronsim starts with slots of the first pass.
        slots = (slot.astimezone(UTC) for slot in CronSim(self._cron, after.astimezone(self.zone)))
        return (slot for slot in slots if slot > after)

    def _after_matching(self, after: datetime) -> Iterator[datetime]:
        """The matches of the local clock, looked for piece by piece between the changes of its UTC offset.

        cronsim steps over the changes in whole hours, so it loses slots where the clock changes by half an hour
        (Lord Howe).
        """
        start = after
        while True:
            offset = self._offset(after)
            for wall in CronSim(self._cron, (start + offset).replace(tzinfo=None)):
                slot = (wall - offset).replace(tzinfo=UTC)
                if change := self._change(after, slot):
                    # The change itself may be a slot.
                    after, start = change, change - SECOND
                    break
                yield slot
                after = slot

    def _change(self, start: datetime, end: datetime) -> datetime | None:
        """The first instant after `start`, up to `end`, with another UTC offset, at most a second late."""
        offset = self._offset(start)
        while self._offset(stop := min(start + _DAY, end)) == offset:
            if stop == end:
                return None
            start = stop
        return start + _first(_DAY // SECOND, lambda n: self._offset(start + n * SECOND) != offset) * SECOND

    def _offset(self, at: datetime) -> timedelta:
        return at.astimezone(self.zone).utcoffset() or timedelta()


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC  # needs no time zone database
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise CronError(f"{name!r}: not a time zone: an IANA name expected, such as UTC or Europe/Berlin") from error


def _instant(at: datetime) -> datetime:
    if at.utcoffset() is None:
        raise ValueError(f"{at!r}: an aware datetime expected")
    return at.astimezone(UTC)


def _multiples(interval: timedelta, after: datetime) -> Iterator[datetime]:
    """The instants, since 1970, in steps of an interval. Ten times as fast as cronsim."""
    slot = _EPOCH + (after - _EPOCH) // interval * interval
    while True:
        slot += interval
        yield slot


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first number below `count` from which on the condition holds."""
    return bisect_left(range(count), 1, key=holds)
