"""What a publish by hand sends: anything, and by itself an event as the worker's."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from crypto_updates.bus import event, instant

FEED = "crypto"
_STEP = timedelta(seconds=1)
_ACCEPTED = "slot: {!r}: {}; accepted: an aware datetime, or a text as 2026-01-01T00:15:00Z"

Body = bytes | str | Mapping[str, Any] | Sequence[Any]


class Draft(NamedTuple):
    headers: dict[str, str]
    body: bytes


class Drafts:
    """Each event that is given no slot gets one of its own: this second, or the next one that is free."""

    def __init__(self) -> None:
        self._last = datetime.fromtimestamp(0, UTC)

    def make(
        self,
        slot: datetime | str | None = None,
        body: Body | None = None,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> Draft:
        """See Crypto.publish. Raises ValueError for a slot that is not ISO 8601 with an offset."""
        has_slot = body is None or slot is not None
        when = self._free() if slot is None else _instant(slot)
        own = event.headers(FEED, when, event.identity(FEED, when)) if has_slot else {}
        if msg_id is not None:
            own = {**own, event.MSG_ID: msg_id} if msg_id else {}
        if body is None:
            body = {"event": event.NAME, "timestamp": event.text(when), **(fields or {})}
        return Draft({**own, **(headers or {})}, _encoded(body))

    def _free(self) -> datetime:
        self._last = max(datetime.now(UTC).replace(microsecond=0), self._last + _STEP)
        return self._last


def _instant(slot: datetime | str) -> datetime:
    try:
        found = instant.parse(slot) if isinstance(slot, str) else slot
    except ValueError as error:
        raise ValueError(_ACCEPTED.format(slot, error)) from error
    if found.tzinfo is None:
        raise ValueError(_ACCEPTED.format(slot, "it has no offset"))
    return found


def _encoded(body: Body) -> bytes:
    if isinstance(body, bytes):
        return body
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)
