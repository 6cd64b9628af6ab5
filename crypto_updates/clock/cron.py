"""The schedule: the instants, in UTC, that a cron expression names. Pure: time is an argument."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from cronsim.cronsim import FIELD_NAMES, RANGES, Field

from crypto_updates.service.errors import CryptoUpdatesError

# The names in crontab(5), without @reboot, which names no time.
ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FORM = f"5 fields expected (minute hour day month weekday), or 6 with seconds first, or one of {' '.join(ALIASES)}"
ACCEPTED = {
    "second": "0-59",
    "minute": "0-59",
    "hour": "0-23",
    "day-of-month": "1-31, L or LW",
    "month": "1-12 or JAN-DEC",
    "day-of-week": "0-7 or SUN-SAT, 2#1 or 5L",
}
FORMS = "*, a-b with a up to b, a/n, a-b/n, */n with n above 0, or a list of these with commas"
_DAYS = (Field.DAY, Field.DOW)
_RANGE = re.compile(r"(\w+)-(\w+)(?:/(\d+))?", re.ASCII)
_SUNDAY = 7  # and 0
# After how long the values of a field begin again.
_PERIODS = ("minute", "hour", "day", "month", "year", "week")
_MAX_SHOWN = 6
_UNITS = (("second", 60), ("minute", 60), ("hour", 24))
SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
# How far cronsim looks ahead. The rarest dates, Sundays on 29 February, are up to 40 years apart.
_HORIZON_SECONDS = 50 * 365 * 24 * 3600


class CronError(CryptoUpdatesError, ValueError):
    """The schedule is not valid."""


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
        self._fields = second, minute, hour, *_ = _fields(expression)
        on_the_minute = set(Field.SECOND.parse(second)) == {0}  # also as 00, 0-0 or 0/60
        self._fixed = on_the_minute and not minute.startswith("*") and not hour.startswith("*")
        # cronsim knows Debian's rules for fixed times too, but applies them only to five fields.
        self._cron = " ".join(self._fields[1:] if on_the_minute else self._fields)
        self._match(datetime(2000, 1, 1))  # noqa: DTZ001 - wall clock time

    @property
    def most_in_an_hour(self) -> int:
        """In 60 minutes there are at most so many slots, and in most schedules so many or none."""
        second, minute, *_ = (len(field.parse(value)) for field, value in zip(Field, self._fields, strict=True))
        return second * minute

    @property
    def remarks(self) -> list[str]:
        """A line for each step that does not mean what it seems to say, such as `*/90` minutes."""
        terms = ((field, term) for field, value in zip(Field, self._fields, strict=True) for term in value.split(","))
        return [remark for field, term in terms if (remark := _remark(field, term))]

    @property
    def words(self) -> str:
        """`every 15 minutes` if that always holds, else the expression."""
        for place, (unit, size) in enumerate(_UNITS):
            step = re.fullmatch(r"\*(?:/(\d+))?", self._fields[place])
            around = self._fields[:place], self._fields[place + 1 :]
            if step is None or around != (["0"] * place, ["*"] * (5 - place)):
                continue
            count = int(step[1] or 1)
            # Hours count from local midnight, so a change of the clock makes one step longer or shorter.
            if size % count == 0 and (count == 1 or unit != "hour" or self.zone is UTC):
                return f"every {unit}" if count == 1 else f"every {count} {unit}s"
        return self.expression

    def next(self, after: datetime) -> datetime:
        """The first slot after an aware instant, in UTC."""
        after = _instant(after)
        if self.zone is UTC:
            return self._match(after.replace(tzinfo=None)).replace(tzinfo=UTC)
        return self._next_fixed(after) if self._fixed else self._next_matching(after)

    def previous(self, at: datetime) -> datetime:
        """The newest slot at or before an aware instant, in UTC.

        Found by bisection on `next`. Around a change of the clock, cronsim's reverse iteration names other slots than
        its forward iteration, and a slot that `next` never returns would be published a second time.
        """
        at = _instant(at)
        back = _first(_HORIZON_SECONDS, lambda seconds: self.next(at - seconds * SECOND) <= at)
        return self.next(at - back * SECOND)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The slots after `start`, up to and including `end`."""
        slot = self.next(start)
        while slot <= end:
            yield slot
            slot = self.next(slot)

    def _match(self, wall: datetime) -> datetime:
        """The next match of a clock that never changes."""
        try:
            return next(CronSim(self._cron, wall))
        except (CronSimError, StopIteration) as error:
            raise CronError(f"{self.expression!r}: never fires: none of its months has such a day") from error

    def _next_fixed(self, after: datetime) -> datetime:
        # In the second pass of a repeated hour, cronsim starts with slots of the first pass.
        slots = (slot.astimezone(UTC) for slot in CronSim(self._cron, after.astimezone(self.zone)))
        return next(slot for slot in slots if slot > after)

    def _next_matching(self, after: datetime) -> datetime:
        """The next match of the local clock, looked for piece by piece between the changes of its UTC offset.

        cronsim steps over the changes in whole hours, so it loses slots where the clock changes by half an hour
        (Lord Howe).
        """
        start, offset = after, self._offset(after)
        while True:
            slot = (self._match((start + offset).replace(tzinfo=None)) - offset).replace(tzinfo=UTC)
            change = self._change(after, slot)
            if change is None:
                return slot
            # The change itself may be a slot.
            after, start, offset = change, change - SECOND, self._offset(change)

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


def _fields(expression: str) -> list[str]:
    """The 6 fields, seconds first. Raises CronError with the field that is wrong."""
    fields = ALIASES.get(expression.strip().lower(), expression).split()
    if len(fields) not in (5, 6):
        raise CronError(f"{expression!r}: {FORM}")
    fields = fields if len(fields) == len(Field) else ["0", *fields]
    return [_plain(field, value, expression) for field, value in zip(Field, fields, strict=True)]


def _plain(field: Field, value: str, expression: str) -> str:
    """The field as cronsim reads it rightly. Raises CronError."""
    # Quartz and node-schedule write `?` for a star in these two. Elsewhere it may also mean the time of the start.
    given = value.upper().replace("?", "*") if field in _DAYS else value.upper()
    try:
        plain = ",".join(_term(field, term) for term in given.split(","))
        field.parse(plain)
    except (CronSimError, ValueError) as error:
        name = FIELD_NAMES[field]
        accepted = f"{ACCEPTED[name]} expected, or {'?, ' if field in _DAYS else ''}{FORMS}"
        raise CronError(f"{expression!r}: {name} {value!r}: {accepted}") from error
    return plain


def _term(field: Field, term: str) -> str:
    """The term without what cronsim misreads. Raises CronSimError or ValueError.

    cronsim takes `5-5/2` for `5/2`, does not know that `SAT-SUN` ends with day 7, and ignores the step of `L/2`.
    """
    if re.match("LW?/", term):
        raise ValueError
    match = _RANGE.fullmatch(term)
    if not match:
        return term
    first, last, step = field.int(match[1]), field.int(match[2]), match[3]
    if field == Field.DOW and last == 0 < first:
        last = _SUNDAY
    # cronsim refuses the step 0.
    return f"{first}-{last}" + (f"/{step}" if step and (first != last or int(step) == 0) else "")


def _remark(field: Field, term: str) -> str | None:
    """What the term means, if its step leaves the range or does not divide the minute, the hour or the day."""
    start, _, step = term.partition("/")
    if not step or int(step) == 1:
        return None
    numbers = [value for value in field.parse(term) if isinstance(value, int)]
    values = sorted({value % _SUNDAY if field == Field.DOW else value for value in numbers})
    is_whole = field <= Field.HOUR and start in {"*", "0", f"0-{max(RANGES[field])}"}
    is_uneven = is_whole and len(RANGES[field]) % int(step)
    if len(values) > 1 and not is_uneven:
        return None
    shown = ", ".join(map(str, values if len(values) <= _MAX_SHOWN else [*values[:3], "...", values[-1]]))
    return f"{FIELD_NAMES[field]} {term} means {shown}, because a step begins again with each {_PERIODS[field]}"


def _instant(at: datetime) -> datetime:
    if at.utcoffset() is None:
        raise ValueError(f"{at!r}: an aware datetime expected")
    return at.astimezone(UTC)


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first number below `count` from which on the condition holds."""
    return bisect_left(range(count), 1, key=holds)
