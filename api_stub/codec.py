"""How a value that MongoDB holds becomes JSON. Other programs may have stored any type; docs/http-api.md lists them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
from bson import json_util
from bson.binary import Binary, UuidRepresentation
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.dbref import DBRef
from bson.decimal128 import Decimal128
from bson.int64 import Int64
from bson.objectid import ObjectId

# No stored value is an error: a date that Python has not is a DatetimeMS, and bytes that are not UTF-8 become U+FFFD.
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    uuid_representation=UuidRepresentation.STANDARD,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
# The Gregorian calendar repeats after so many years, which are a whole number of days.
CYCLE_YEARS, CYCLE_DAYS = 400, 146_097
MILLISECOND = timedelta(milliseconds=1)
CYCLE_MS = CYCLE_DAYS * timedelta(days=1) // MILLISECOND


def encode(content: object) -> bytes:
    """Encode as JSON, in UTF-8."""
    return _json.encode(content)


def number(value: object) -> object:
    """The value if MongoDB holds it as a number, else None: a price may be anything that anyone has sent."""
    is_number = isinstance(value, int | float | Decimal128) and not isinstance(value, bool)
    return value if is_number else None


def _exact(value: Decimal128) -> Decimal | None:
    exact = value.to_decimal()
    return exact if exact.is_finite() else None


def _far(value: DatetimeMS) -> str:
    """An instant outside the years 1 to 9999, as ECMAScript writes it: a sign and six digits of the year, or more."""
    cycles, rest = divmod(int(value), CYCLE_MS)
    at = datetime.fromtimestamp(0, UTC) + rest * MILLISECOND
    return f"{at.year + CYCLE_YEARS * cycles:+07d}{at:-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


# What msgspec does not know by itself.
_FORMS: dict[type, Callable[[Any], object]] = {
    Binary: bytes,
    DatetimeMS: _far,
    DBRef: DBRef.as_doc,
    Decimal128: _exact,
    Int64: int,
    ObjectId: str,
}


def _plain(value: object) -> object:
    """The value as a type that JSON has. MongoDB's Extended JSON has a form for the types without one here."""
    form = _FORMS.get(type(value))
    return form(value) if form else json_util.default(value, json_util.RELAXED_JSON_OPTIONS)


_json = msgspec.json.Encoder(enc_hook=_plain, decimal_format="number")
