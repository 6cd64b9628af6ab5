"""A cron expression: what it may hold, and its fields as cronsim reads them rightly."""

import re

from cronsim import CronSimError
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


class CronError(CryptoUpdatesError, ValueError):
    """The schedule is not valid."""


def parse(expression: str) -> list[str]:
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


def remark(field: Field, term: str) -> str | None:
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
