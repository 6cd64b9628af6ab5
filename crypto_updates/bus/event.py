"""The CRYPTO_UPDATE event: its form on the wire, its id, and how a reader checks it. Pure."""

import contextlib
import json
import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from crypto_updates.bus import culprit, instant
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.trace import TRACEPARENT

NAME = "CRYPTO_UPDATE"
SUBJECT = "crypto.updates"
MSG_ID = "Nats-Msg-Id"
# Names one act of publishing, the same in each retry, so that a publisher knows its own event in the stream.
PUBLICATION = "Publication-Id"

# MongoDB's limit on nested documents, minus one for the document itself:
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Nested-Depth-for-BSON-Documents
MAX_DEPTH = 99
# An error message, and so a log line, shows at most this much of a value.
SHOWN_CHARACTERS = 60
# A coin's id in COINS, and in the API's queries.
MAX_COIN_CHARACTERS = 256
# The store adds these keys. It refuses an event that has one of them, because that value would be lost.
RESERVED = ("_id", "received_at", "stream_seq")

_json = msgspec.json.Decoder()

Instant = Annotated[datetime, Meta(tz=True)]


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A coin's market data: `price` and `market_cap` in `currency`, `change_24h` in percent; null if unknown.

    `source` is there only in an event with data of two sources, whose own `source` then names both: `one+two`.
    """

    coin: str
    symbol: str
    price: float | None
    market_cap: float | None
    change_24h: float | None
    currency: str
    updated_at: Instant | None
    source: str | UnsetType = UNSET


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=NAME):
    """`timestamp` is the slot: the scheduled instant in UTC, in whole seconds. It is never the moment of publishing.

    `source` gave `data` at `fetched_at`; without data, none of the three is there. The keys stand in this order,
    `event` first: readers of the Node.js worker know it byte for byte.
    """

    timestamp: Instant
    source: str | UnsetType = UNSET
    data: tuple[Quote, ...] | UnsetType = UNSET
    fetched_at: Instant | UnsetType = UNSET


def encode(event: Event) -> bytes:
    """Return the body: compact UTF-8 JSON."""
    return msgspec.json.encode(event)


def text(slot: datetime) -> str:
    """Return the slot as bodies and ids write it: `2023-11-21T14:30:00Z`."""
    # Not strftime, which writes the year 999 with three digits.
    return slot.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def identity(feed: str, slot: datetime, part: int = 0) -> str:
    """Return the id of a slot's event, the same in each worker and each retry: `<feed>@<slot>`, `#n` for part n."""
    return f"{feed}@{text(slot)}" + (f"#{part}" if part else "")


def headers(feed: str, slot: datetime, msg_id: str, traceparent: str) -> dict[str, str]:
    """Return the deduplication id, the attributes of a CloudEvent in binary mode (NATS binding 1.0), and the trace."""
    return {
        MSG_ID: msg_id,
        "ce-specversion": "1.0",
        "ce-id": msg_id,
        "ce-source": f"/crypto-updates/{feed}",
        "ce-type": NAME,
        "ce-time": text(slot),
        "ce-datacontenttype": "application/json",
        TRACEPARENT: traceparent,
    }


def split(event: Event, limit: int) -> list[Event]:
    """Split the event into parts of at most `limit` bytes. A part with one quote is not split further."""
    quotes = event.data
    if isinstance(quotes, UnsetType) or len(quotes) <= 1 or len(encode(event)) <= limit:
        return [event]
    middle = len(quotes) // 2
    halves = (msgspec.structs.replace(event, data=half) for half in (quotes[:middle], quotes[middle:]))
    return [part for half in halves for part in split(half, limit)]


def parse(body: bytes) -> dict[str, Any]:
    """Return anyone's event as a dict, unknown keys included, with `timestamp` as an aware datetime in UTC.

    Of several values of one key, the last is kept. Raises InvalidEventError, which names the key and what is wrong.
    """
    return check(decode(body), body)


def decode(body: bytes) -> object:
    """Raises InvalidEventError."""
    try:
        return _json.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError(_unread(body, error)) from error


def _unread(body: bytes, error: Exception) -> str:
    # It may be JSON, which sets no bounds. The standard library reads a number of any size, and half a surrogate pair.
    with contextlib.suppress(ValueError, RecursionError):
        # `int` refuses NaN and Infinity, which are no JSON.
        if found := culprit.find(json.loads(body.decode(), parse_int=float, parse_constant=int), _unstorable):
            return found
    return f"body: not {'storable' if 'out of range' in str(error) else 'JSON'}: {error}"


def _unstorable(value: object) -> str | None:
    if isinstance(value, float) and math.isinf(value):
        return "not storable: larger than any float"
    texts = value if isinstance(value, dict) else [value] if isinstance(value, str) else []
    if half := next((text for text in texts if re.search("[\ud800-\udfff]", text)), None):
        return f"not storable: half a surrogate pair in {shown(half)}"
    return None


def check(fields: object, body: bytes, where: str = "body") -> dict[str, Any]:
    """Check what was decoded from the body, or from the part of it that is called `where`. Raises InvalidEventError."""
    if not isinstance(fields, dict):
        raise InvalidEventError(f"{where}: {shown(fields)} is not an object")
    # Counting brackets bounds the depth cheaply, so most bodies are never walked. (`replace` is three times as fast as
    # `count` twice.)
    if len(body) - len(body.replace(b"[", b"").replace(b"{", b"")) > MAX_DEPTH and _depth(fields) > MAX_DEPTH:
        raise InvalidEventError(f"{where}: nested more than {MAX_DEPTH} levels deep")
    if fields.get("event") != NAME:
        raise InvalidEventError(f"event: {shown(fields.get('event'))} is not {NAME}")
    for key in RESERVED:
        if key in fields:
            raise InvalidEventError(f"{key}: reserved for the store")
    if "$ref" in fields and "$id" in fields:
        raise InvalidEventError("$ref: with $id, a driver of MongoDB reads a reference and no event")
    fields["timestamp"] = _instant(fields.get("timestamp"))
    return fields


def _depth(value: object) -> int:
    """Count the levels of nesting, breadth first, because a hostile body would break a recursive walk."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        children = [c for v in level if isinstance(v, dict) for c in v.values()]
        children += [c for v in level if isinstance(v, list) for c in v]
        level, depth = [c for c in children if isinstance(c, dict | list)], depth + 1
    return depth


def _instant(value: object) -> datetime:
    if value is None:
        raise InvalidEventError("timestamp: missing")
    if not isinstance(value, str):
        raise InvalidEventError(f"timestamp: {shown(value)} is not a text with an ISO 8601 time")
    try:
        return instant.parse(value)
    except ValueError as error:
        raise InvalidEventError(f"timestamp: {error}") from error


def shown(value: object) -> str:
    """Shorten a value for a log line. Of a list or an object, which may be deeply nested, show only the type."""
    text = f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."
