"""What a source's answer means: its values, what went wrong, and how long to wait. Pure."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any

import httpx
import msgspec

from crypto_updates.bus.event import shown

MAX_CHARACTERS = 200
MAX_NAMES = 20
MAX_SYMBOL_CHARACTERS = 100

# A number that JSON can write. `decode` reads a larger one as infinity.
Number = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]


class _Status(msgspec.Struct):
    error_code: int | None = None
    error_message: str | None = None


class _Failure(_Status):
    """CoinGecko's errors in all their forms: flat, under `status`, under `error`, or `error` as text.

    DefiLlama has `message`.
    """

    status: _Status | None = None
    error: "str | _Failure | None" = None
    message: str | None = None


_failure = msgspec.json.Decoder(_Failure)


def problem(title: str, status: int, body: bytes, retry_after: float | None, hints: Mapping[int, str]) -> str:
    """An answer other than 200 in one line: the status, the source's own words, and the setting to check.

    `hints`: the settings by the source's own code or by status.
    """
    code, message = _reason(body)
    parts = [f"{title} answered {status} {httpx.codes.get_reason_phrase(status)}".rstrip()]
    if code or message:
        parts.append(" ".join(str(part) for part in (code, printable(message or "")) if part))
    if retry_after is not None:
        parts.append(f"retry-after {retry_after:g} s")
    hint = hints.get(code or 0) or hints.get(status)
    return ": ".join(parts) + (f" ({hint})" if hint else "")


def _reason(body: bytes) -> tuple[int | None, str | None]:
    try:
        failure = _failure.decode(body)
    except (ValueError, RecursionError):
        return None, None
    while isinstance(failure.error, _Failure):
        failure = failure.error
    inner = failure.status or _Status()
    message = inner.error_message or failure.error_message or failure.error or failure.message
    return inner.error_code or failure.error_code, message


def decode(body: bytes) -> Any:  # noqa: ANN401 - anyone's JSON
    """The JSON of a body, with each number as a float.

    The standard decoder leaves it to the reader to refuse a coin with half a surrogate pair or a number of any size.
    msgspec's would refuse the whole body. Raises ValueError or RecursionError.
    """
    # `int` refuses NaN and Infinity, which are no JSON.
    return json.loads(body.decode(errors="replace"), strict=False, parse_int=float, parse_constant=int)


def symbol(text: str) -> str:
    """The symbol of a coin. Raises ValueError if it cannot be printed or is too long."""
    if not text.isprintable():
        raise ValueError(f"symbol {shown(text)} is not printable")
    if len(text) > MAX_SYMBOL_CHARACTERS:
        raise ValueError(f"symbol {shown(text)} has {len(text)} characters, more than {MAX_SYMBOL_CHARACTERS}")
    return text


def printable(text: str) -> str:
    """Text from outside, made fit for one line of a log."""
    return "".join(char if char.isprintable() else " " for char in text[:MAX_CHARACTERS])


def named(coins: Iterable[str]) -> str:
    """The coins in one line of a log, the first ones by their names."""
    names = list(coins)
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return ", ".join(names[:MAX_NAMES]) + rest


def seconds(retry_after: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or a date (RFC 9110, 10.2.3).

    None without one, and for one that means nothing. Fractions, which the RFC does not have, count too.
    """
    if retry_after is None:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", retry_after):
        return float(retry_after)
    try:
        instant = parsedate_to_datetime(retry_after)
        # A date with the zone "-0000" is parsed as naive. RFC 5322 defines it as UTC.
        instant = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
        return max(0.0, (instant - now).total_seconds())
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
