"""What the stream has already: the newest slot of a feed, read from the stream itself."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from bus.connection import Connection
from bus.errors import InvalidEventError
from bus.event import MSG_ID, SUBJECT, parse
from bus.stream import STREAM

log = logging.getLogger(__name__)

# Others publish on the subject too, and old slots are published by hand, so the newest slot is looked for among these.
LOOK_BACK = 20
# An event that was stored longer after its slot was published by hand, and tells nothing of when a worker ran.
BY_HAND = timedelta(days=1)


async def last_slot(connection: Connection, feed: str, now: datetime) -> datetime | None:
    """The feed's newest slot that is not in the future, or None where that is not to be known.

    Raises nats.errors.Error.
    """
    if connection.js is None:
        return None
    try:
        newest = (await connection.js.get_last_msg(STREAM, SUBJECT)).seq or 0
        numbers = range(newest, max(newest - LOOK_BACK, 0), -1)
        messages = await asyncio.gather(*(_get(connection.js, number) for number in numbers))
    except NotFoundError:
        return None
    except nats.errors.TimeoutError:
        log.debug("[NATS] the newest events cannot be read: not permitted, or no answer")
        return None
    slots = [slot for message in messages if message and (slot := _slot(message, feed)) and slot <= now]
    return max(slots, default=None)


async def _get(js: JetStreamContext, number: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(STREAM, number)
    except NotFoundError:
        return None  # deleted


def _slot(message: RawStreamMsg, feed: str) -> datetime | None:
    if not (message.headers or {}).get(MSG_ID, "").startswith(f"{feed}@"):
        return None
    try:
        slot: datetime = parse(message.data or b"")["timestamp"]
    except InvalidEventError:
        return None
    return slot if message.time and message.time - slot < BY_HAND else None
