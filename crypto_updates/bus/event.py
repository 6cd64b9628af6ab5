"""The CRYPTO_UPDATE event: its form on the wire, its id, and how a reader checks it. Pure."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from crypto_updates.bus.errors import InvalidEventError

NAME = "CRYPTO_UPDATE"
SUBJECT = "crypto.updates"
MSG_ID = "Nats-Msg-Id"

# MongoDB's limit on nested documents, minus one for the document itself:
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Nested-Depth-for-BSON-Documents
MAX_DEPTH = 99
# An error message, and so a log line, shows at most this much of a value.
SHOWN_CHARACTERS = 60
# The store adds these keys. It refuses an event that has one of them, because that value would be lost.
RESERVED = ("_id", "received_at", "stream_seq")

_Instant = Annotated[datetime, Meta(tz=True)]
_json = msgspec.json.Decoder()


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A coin's market data: `price` and `market_cap` in `currency`, `change_24h` in percent; None if unknown."""

    coin: str
    symbol: str
    price: float | None
    market_cap: float | None
    change_24h: float | None
    currency: str
    updated_at: datetime | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`timestamp` is the slot: the scheduled instant in UTC, in whole seconds. It is never the moment of publishing.

    The fields stand in the order of the keys. Readers of the Node.js worker know that order byte for byte.
    """

    event: str = NAME
    timestamp: datetime
    source: str | UnsetType = UNSET
    data: tuple[Quote, ...] | UnsetType = UNSET
    fetched_at: datetime | UnsetType = UNSET


def encode(event: Event) -> bytes:
    """Return the body: compact UTF-8 JSON."""
    return msgspec.json.encode(event)


def text(slot: datetime) -> str:
    """Return the slot as bodies and ids write it: `2023-11-21T14:30:00Z`."""
    return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def identity(feed: str, slot: datetime, part: int = 0) -> str:
    """Return the id of a slot's event, the same in each worker and each retry: `<feed>@<slot>`, `#n` for part n."""
    return f"{feed}@{text(slot)}" + (f"#{part}" if part else "")


def headers(feed: str, slot: datetime, msg_id: str) -> dict[str, str]:
    """Return the deduplication id and the attributes of a CloudEvent in binary mode (NATS binding 1.0)."""
    return {
        MSG_ID: msg_id,
        "ce-specversion": "1.0",
        "ce-id": msg_id,
        "ce-source": f"/crypto-updates/{feed}",
        "ce-type": NAME,
        "ce-time": text(slot),
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

    Raises InvalidEventError, which names the key and what is wrong with it.
    """
    fields = _decode(body)
    if fields.get("event") != NAME:
        raise InvalidEventError(f"event: {_shown(fields.get('event'))} is not {NAME}")
    for key in RESERVED:
        if key in fields:
            raise InvalidEventError(f"{key}: reserved for the store")
    fields["timestamp"] = _instant(fields.get("timestamp"))
    return fields


def _decode(body: bytes) -> dict[str, Any]:
    try:
        fields = _json.decode(body)
    except (ValueError, RecursionError) as error:
        raise InvalidEventError(f"body: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidEventError(f"body: {_shown(fields)} is not an object")
    # Counting brackets bounds the depth cheaply, so most bodies are never walked. (`replace` is three times as fast as
    # `count` twice.)
    if len(body) - len(body.replace(b"[", b"").replace(b"{", b"")) > MAX_DEPTH and _depth(fields) > MAX_DEPTH:
        raise InvalidEventError(f"body: nested more than {MAX_DEPTH} levels deep")
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
    try:
        return msgspec.convert(value, _Instant).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        problem = "missing" if value is None else "not an ISO 8601 time"
        raise InvalidEventError(f"timestamp: {problem}") from error


def _shown(value: object) -> str:
    """Shorten a value for a log line. Of a list or an object, which may be deeply nested, show only the type."""
    shown = f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)
    return shown if len(shown) <= SHOWN_CHARACTERS else shown[: SHOWN_CHARACTERS - 3] + "..."
