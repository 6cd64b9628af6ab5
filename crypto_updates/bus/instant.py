"""Instants as text: ISO 8601 with an offset. The one parser for events, the HTTP API and the commands. Pure."""

import re
from datetime import UTC, datetime, time, timedelta

# The form of nearly every event, without a leap second and the end of a day, which `fromisoformat` does not read.
_USUAL = re.compile(r"\d{4}-\d\d-\d\dT(?!24)\d\d:\d\d:(?!60)\d\d(?:\.\d{1,9})?Z", re.ASCII)
# The date and the time are both basic or both extended. The last unit of the time may have a fraction.
_FORM = re.compile(
    r"(?P<year>\d{4})(?P<dash>-?)(?P<month>\d\d)(?P=dash)(?P<day>\d\d)"
    r"(?P<time>[Tt ](?P<hour>\d\d)(?:(?P<colon>:?)(?P<minute>\d\d)(?:(?P=colon)(?P<second>\d\d))?)?"
    r"(?:[.,](?P<fraction>\d+))?)?"
    r"(?P<offset>[Zz]|(?P<sign>[+\-\u2212])(?P<hours>\d\d)(?::?(?P<minutes>\d\d))?)?",
    re.ASCII,
)
_UNSUPPORTED = {
    "a week date; only calendar dates are accepted": re.compile(r"\d{4}-?W\d\d", re.ASCII),
    "an ordinal date; only calendar dates are accepted": re.compile(r"\d{4}-?\d{3}(?!\d)", re.ASCII),
    "a year beyond 0001 to 9999": re.compile(r"[+\-\u2212]\d{4,}-?\d\d|\d{5,}-\d\d-", re.ASCII),
}
_UNITS = {"hour": 3_600_000, "minute": 60_000, "second": 1000}  # in milliseconds
# Digits beyond these do not reach a millisecond, and Python reads no number of more than 4300.
_FRACTION_DIGITS = 30


def parse(text: str) -> datetime:
    """Return the instant in UTC. Raises ValueError, which says what is wrong.

    Accepted are a calendar date, a time and an offset as ISO 8601-1:2019 and its amendment of 2022 have them: basic
    (`20231121T143000Z`) or extended, without seconds or minutes, with a fraction, and `24:00` as the end of a day.
    From RFC 3339 come `t`, `z`, `-00:00`, and a space in place of the `T`. An offset may have either form.

    What is below a millisecond is cut, toward the past, because MongoDB's dates have milliseconds.
    """
    if _USUAL.fullmatch(text):
        found = datetime.fromisoformat(text)
        return found.replace(microsecond=found.microsecond // 1000 * 1000) if found.microsecond else found
    match = _FORM.fullmatch(text)
    if not match:
        raise ValueError(
            next((name for name, form in _UNSUPPORTED.items() if form.match(text)), "not an ISO 8601 time")
        )
    if not match["time"]:
        raise ValueError("a date without a time of day and an offset")
    if match["minute"] and bool(match["dash"]) != bool(match["colon"]):
        raise ValueError("not an ISO 8601 time: the date and the time are not of one form, basic or extended")
    if not match["offset"]:
        raise ValueError("no offset from UTC, such as Z or +01:00")
    try:
        # In one step, because the local time may be beyond the year 9999 where the one in UTC is not.
        return _day(match) + (_time(match) - _offset(match))
    except OverflowError as error:
        raise ValueError("beyond the years 0001 to 9999 in UTC") from error


def _day(match: re.Match[str]) -> datetime:
    return datetime(int(match["year"]), int(match["month"]), int(match["day"]), tzinfo=UTC)


def _time(match: re.Match[str]) -> timedelta:
    """Return the time since midnight, in whole milliseconds."""
    hour, minute, second = (int(match[unit] or 0) for unit in _UNITS)
    if second == 60:  # noqa: PLR2004 - the seconds of a minute
        raise ValueError("a leap second (:60), which MongoDB's dates do not have")
    digits = (match["fraction"] or "0")[:_FRACTION_DIGITS]
    if (hour, minute, second, int(digits)) != (24, 0, 0, 0):
        time(hour, minute, second)
    last = next(milliseconds for unit, milliseconds in reversed(_UNITS.items()) if match[unit])
    beyond = timedelta(milliseconds=last * int(digits) // 10 ** len(digits))
    return timedelta(hours=hour, minutes=minute, seconds=second) + beyond


def _offset(match: re.Match[str]) -> timedelta:
    hours, minutes = int(match["hours"] or 0), int(match["minutes"] or 0)
    if hours > 23 or minutes > 59:  # noqa: PLR2004 - those of a day and of an hour
        raise ValueError("an offset beyond 23:59")
    offset = timedelta(hours=hours, minutes=minutes)
    return offset if match["sign"] == "+" else -offset
