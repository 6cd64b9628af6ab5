"""The event as a JSON Schema of version 2020-12. Pure."""

import inspect
import sys
from typing import Any

import msgspec

from crypto_updates.bus.event import MAX_DEPTH, NAME, RESERVED, Event

Json = dict[str, Any]

ANYONES = {"event": NAME, "timestamp": "2023-11-21T15:30+01:00", "note": "any other key"}

# The patterns mean the same in every language: no \d, no look-ahead. `_TIME` has each form of a time; `_NO_TIMES` are
# those that have the form and are no time.
_MONTH, _DAY, _HOUR, _SIXTY = "(0[1-9]|1[0-2])", "(0[1-9]|[12][0-9]|3[01])", "([01][0-9]|2[0-4])", "[0-5][0-9]"
_EXTENDED = f"[0-9]{{4}}-{_MONTH}-{_DAY}[Tt ]{_HOUR}(:{_SIXTY}(:{_SIXTY})?)?"
_BASIC = f"[0-9]{{4}}{_MONTH}{_DAY}[Tt ]{_HOUR}({_SIXTY}({_SIXTY})?)?"
_OFFSET = f"([Zz]|[+\\-\u2212]([01][0-9]|2[0-3])(:?{_SIXTY})?)"
_TIME = f"^({_EXTENDED}|{_BASIC})([.,][0-9]+)?{_OFFSET}$"
_NO_FOURTH = "([02468][1235679]|[13579][01345789])"
_NO_TIMES = {
    "^0000": "there is no year 0",
    "^[0-9]{4}-?(0[2469]|11)-?31": "a month of 30 days, or February",
    "^[0-9]{4}-?02-?30": "February",
    f"^([0-9]{{2}}{_NO_FOURTH}|{_NO_FOURTH}00)-?02-?29": "February in a year that is no leap year",
    "^[0-9-]{8,10}[Tt ]24[0:.,]*[1-9]": "after the end of the day",
    "\\n": "in some languages, $ stands also before a last line break",
}

_RULES = f"""\
What the API stub stores as an event, whoever published it. Other keys may be anything. `Event` in the definitions is
what the worker publishes. If a message is a CloudEvent in structured mode, this schema is for its data.

Some rules are beyond a schema; `crypto-updates validate` checks them too. The body is JSON in UTF-8, without a byte
order mark or half a surrogate pair. An integer (without point and exponent) has at most 64 bits, with its sign. The
body is nested at most {MAX_DEPTH} levels deep. In UTC, the timestamp is in the years 0001 to 9999. As BSON, the event
has at most 16 MiB."""


def document() -> Json:
    """What the API stub takes, and in `$defs` what the worker publishes."""
    found = schemas("#/$defs/")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found.pop("AnyEvent"), "$defs": found}


def schemas(place: str) -> dict[str, Json]:
    """Return the schemas by name. `place` is where they stand, as in their references to each other."""
    _, published = msgspec.json.schema_components([Event], ref_template=place + "{name}")
    for each in published.values():
        each["description"] = inspect.cleandoc(each["description"])
    return {"AnyEvent": _taken(place), **published, "Value": _storable(place)}


def _taken(place: str) -> Json:
    return {
        "title": f"Anyone's {NAME} event",
        "description": _RULES,
        "type": "object",
        "properties": {"event": {"const": NAME}, "timestamp": _timestamp()},
        "required": ["event", "timestamp"],
        "propertyNames": {**_KEY, "not": {"enum": [*RESERVED]}},
        "additionalProperties": {"$ref": f"{place}Value"},
        "not": {"required": ["$ref", "$id"]},
        "examples": [ANYONES],
    }


def _timestamp() -> Json:
    return {
        "description": "The slot: a date, a time and an offset in ISO 8601, basic or extended",
        "type": "string",
        "pattern": _TIME,
        "not": {"anyOf": [{"pattern": pattern, "$comment": why} for pattern, why in _NO_TIMES.items()]},
    }


_KEY = {"pattern": "^[^\\x00]*$"}


def _storable(place: str) -> Json:
    value = {"$ref": f"{place}Value"}
    return {
        "description": "Anything that MongoDB can hold: no number larger than any float, and no key with a NUL",
        "type": ["null", "boolean", "number", "string", "array", "object"],  # for some validators, infinity is of none
        "minimum": -sys.float_info.max,
        "maximum": sys.float_info.max,
        "items": value,
        "propertyNames": _KEY,
        "additionalProperties": value,
    }
