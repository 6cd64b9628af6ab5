"""What the stream has already: the newest slot of a feed, read from the stream itself."""

from __future__ import annotations

import logging
from datetime import datetime

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from bus.connection import Connection
from bus.errors import InvalidEventError
from bus.event import MSG_ID, SUBJECT, parse
from bus.stream import STREAM

log = logging.getLogger(__name__)

# Others publish on the subject too, so the feed's newest event is looked for among so many of the newest messages.
LOOK_BACK = 50


async def last_slot(connection: Connection, feed: str) -> datetime | None:
    """The slot of the feed's newest event, or None where that is not to be known. Raises nats.errors.Error."""
    if connection.js is None:
        return None
    try:
        message = await connection.js.get_last_msg(STREAM, SUBJECT)
        newest = message.seq or 0
        for seq in range(newest - 1, max(newest - LOOK_BACK, 0), -1):
            if slot := _slot(message, feed):
                return slot
            message = await _get(connection.js, seq) or message
        return _slot(message, feed)
    except NotFoundError:
        return None
    except nats.errors.TimeoutError:
        log.debug("[NATS] the newest event cannot be read: not permitted, or no answer")
        return None


async def _get(js: JetStreamContext, seq: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(STREAM, seq)
    except NotFoundError:
        return None  # deleted


def _slot(message: RawStreamMsg, feed: str) -> datetime | None:
    if not (message.headers or {}).get(MSG_ID, "").startswith(f"{feed}@"):
        return None
    try:
        slot: datetime = parse(message.data or b"")["timestamp"]
    except InvalidEventError:
        return None
    return slot
