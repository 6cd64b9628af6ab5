"""What a publish by hand sends: anything, and by itself an event as the worker's."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from crypto_updates.bus import event, instant, trace

FEED = "crypto"
_STEP = timedelta(seconds=1)
_ACCEPTED = "slot: {!r}: {}; accepted: an aware datetime, or a text as 2026-01-01T00:15:00Z"
# What NATS would send as something else, or not at all.
_NAME, _TEXT = re.compile(r"[!-9;-~]+"), re.compile(r"[^\r\n]*")

Body = bytes | str | Mapping[str, Any] | Sequence[Any]


class Draft(NamedTuple):
    headers: dict[str, str]
    body: bytes


class Drafts:
    """Each event that is given no slot gets one of its own: this second, or the next one that is free."""

    def __init__(self, feed: str = FEED) -> None:
        self._feed = feed
        self._last = datetime.fromtimestamp(0, UTC)

    def make(
        self,
        slot: datetime | str | None = None,
        body: Body | None = None,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> Draft:
        """See Crypto.publish. Raises ValueError for what cannot be sent."""
        if fields and body is not None:
            raise ValueError(f"{', '.join(fields)}: accepted: more keys of an event, and none beside a body")
        has_slot = body is None or slot is not None
        when = self._free() if slot is None else _instant(slot)
        own = {}
        if has_slot:
            own = event.headers(self._feed, when, event.identity(self._feed, when), trace.fresh())
        if msg_id is not None:
            own = {**own, event.MSG_ID: msg_id} if msg_id else {}
        if body is None:
            body = {"event": event.NAME, "timestamp": event.text(when), **(fields or {})}
        return Draft({**own, **_sendable(headers or {})}, _encoded(body))

    def _free(self) -> datetime:
        self._last = max(datetime.now(UTC).replace(microsecond=0), self._last + _STEP)
        return self._last


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if not (_NAME.fullmatch(str(name)) and isinstance(value, str) and _TEXT.fullmatch(value)):
            raise ValueError(f"headers: {name!r}: {value!r}; accepted: a name of ASCII, and a text in one line")
    return headers


def _instant(slot: datetime | str) -> datetime:
    try:
        found = slot if isinstance(slot, datetime) else instant.parse(slot)
    except (ValueError, TypeError) as error:
        raise ValueError(_ACCEPTED.format(slot, error)) from error
    if found.tzinfo is None:
        raise ValueError(_ACCEPTED.format(slot, "it has no offset"))
    return found


def _encoded(body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)
