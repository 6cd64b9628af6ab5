"""The CRYPTO_UPDATE event: its form on the wire, its identity, and how a reader checks it. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from crypto_updates.bus.errors import InvalidEventError

NAME = "CRYPTO_UPDATE"
SUBJECT = "crypto.updates"
MSG_ID = "Nats-Msg-Id"

# MongoDB's limit on nested documents, less one for the document itself:
# https://www.mongodb.com/docs/manual/reference/limits/#mongodb-limit-Nested-Depth-for-BSON-Documents
MAX_DEPTH = 99
# Longest piece of a value in an error message, which ends up in a log line.
SHOWN = 60
# Keys that the store adds. An event that brings its own would lose them, so it is refused instead.
RESERVED = ("_id", "received_at", "stream_seq")

_Instant = Annotated[datetime, Meta(tz=True)]
_json = msgspec.json.Decoder()


class Quote(msgspec.Struct, frozen=True, kw_only=True):
    """A coin's market data: `price` and `market_cap` in `currency`, `change_24h` in percent; None where unknown."""

    coin: str
    symbol: str
    price: float | None
    market_cap: float | None
    change_24h: float | None
    currency: str
    updated_at: datetime | None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """`timestamp` is the slot: the scheduled instant in UTC, whole seconds, never the moment of publishing.

    The order of the fields is the order of the keys, which readers of the Node.js worker know byte for byte.
    """

    event: str = NAME
    timestamp: datetime
    source: str | UnsetType = UNSET
    data: tuple[Quote, ...] | UnsetType = UNSET
    fetched_at: datetime | UnsetType = UNSET


def encode(event: Event) -> bytes:
    """The body: compact UTF-8 JSON."""
    return msgspec.json.encode(event)


def text(slot: datetime) -> str:
    """The slot as it stands in bodies and ids: `2023-11-21T14:30:00Z`."""
    return slot.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def identity(feed: str, slot: datetime, part: int = 0) -> str:
    """The id that replicas, retries and catch-up share: `<feed>@<slot>`, and `#n` for part n of a split event."""
    return f"{feed}@{text(slot)}" + (f"#{part}" if part else "")


def headers(feed: str, event: Event, msg_id: str) -> dict[str, str]:
    """The deduplication id, and CloudEvents in binary mode (CloudEvents NATS binding 1.0)."""
    return {
        MSG_ID: msg_id,
        "ce-specversion": "1.0",
        "ce-id": msg_id,
        "ce-source": f"/crypto-updates/{feed}",
        "ce-type": event.event,
        "ce-time": text(event.timestamp),
    }


def split(event: Event, limit: int) -> list[Event]:
    """The event in parts of at most `limit` bytes each; a part of one quote is not split further."""
    quotes = event.data
    if isinstance(quotes, UnsetType) or len(quotes) <= 1 or len(encode(event)) <= limit:
        return [event]
    middle = len(quotes) // 2
    halves = (msgspec.structs.replace(event, data=half) for half in (quotes[:middle], quotes[middle:]))
    return [part for half in halves for part in split(half, limit)]


def parse(body: bytes) -> dict[str, Any]:
    """The body of anyone's event, unknown keys included, with `timestamp` as an aware datetime in UTC.

    Raises InvalidEventError with the key and what is wrong with it.
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
    # The number of brackets is a cheap upper bound, so that ordinary events are not walked. To take them away is three
    # times as fast as to count them.
    if len(body) - len(body.replace(b"[", b"").replace(b"{", b"")) > MAX_DEPTH and _depth(fields) > MAX_DEPTH:
        raise InvalidEventError(f"body: nested more than {MAX_DEPTH} levels deep")
    return fields


def _depth(value: object) -> int:
    """Levels of nesting, walked breadth first, because a recursive walk is what a hostile body would break."""
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
    """A value short enough for a log line; of a list or an object only the kind, since it can be deeply nested."""
    shown = f"a {type(value).__name__}" if isinstance(value, list | dict) else repr(value)
    return shown if len(shown) <= SHOWN else shown[: SHOWN - 3] + "..."
