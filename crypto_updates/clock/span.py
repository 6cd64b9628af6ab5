"""A span of time as a person writes it, and the time in the past that it stands for. Pure."""

import contextlib
import re
from datetime import datetime, timedelta

from crypto_updates.bus import instant

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
FORMS = "90s, 90m, 24h, 7d"
PAST_FORMS = f"{FORMS}, or an ISO 8601 time in the past, such as 2023-11-21T14:30:00Z"


def parse(text: str) -> timedelta | None:
    """Return the span, None if the text is none."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text, re.ASCII)
    return timedelta(**{UNITS[match[2]]: int(match[1])}) if match else None


def shown(span: timedelta) -> str:
    """Return the span in the largest unit that it is whole in."""
    units = ((unit, timedelta(**{name: 1})) for unit, name in reversed(UNITS.items()))
    return next(f"{span // size}{unit}" for unit, size in units if not span % size)


def past(text: str, now: datetime) -> datetime:
    """Return the start of a span that ends now, or an instant, in whole seconds. Raises ValueError with what is wrong.

    A time without an offset is in UTC, like all printed times. A date is its first instant.
    """
    try:
        start = now - span if (span := parse(text)) is not None else _instant(text)
    except OverflowError as error:
        raise ValueError(str(error)) from error
    if start >= now:
        raise ValueError("not in the past")
    return start.replace(microsecond=0)


def _instant(text: str) -> datetime:
    """Raises ValueError."""
    with contextlib.suppress(ValueError):
        return instant.parse(f"{text}Z")  # a time without an offset
    with contextlib.suppress(ValueError):
        return instant.parse(f"{text}T00Z")  # a date
    return instant.parse(text)
