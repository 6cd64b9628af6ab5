"""What the stream has already: the newest events of a feed."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import NamedTuple

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from bus.connection import Connection
from bus.errors import InvalidEventError
from bus.event import MSG_ID, SUBJECT, parse
from bus.stream import STREAM

log = logging.getLogger(__name__)

# Others publish on the subject too, and old slots are published by hand, so more than the newest message is looked at.
LOOK_BACK = 20


class Published(NamedTuple):
    """An event of the feed: its slot, and when the stream stored it."""

    slot: datetime
    stored: datetime


async def newest(connection: Connection, feed: str) -> list[Published]:
    """The feed's events among the stream's newest messages; none where that is not to be known.

    Raises nats.errors.Error.
    """
    if connection.js is None:
        return []
    try:
        number = (await connection.js.get_last_msg(STREAM, SUBJECT)).seq or 0
        numbers = range(number, max(number - LOOK_BACK, 0), -1)
        messages = await asyncio.gather(*(_get(connection.js, number) for number in numbers))
    except NotFoundError:
        return []
    except nats.errors.TimeoutError:
        log.debug("[NATS] the newest events cannot be read: not permitted, or no answer")
        return []
    return [published for message in messages if message and (published := _published(message, feed))]


async def _get(js: JetStreamContext, number: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(STREAM, number)
    except NotFoundError:
        return None  # deleted


def _published(message: RawStreamMsg, feed: str) -> Published | None:
    if not (message.headers or {}).get(MSG_ID, "").startswith(f"{feed}@") or message.time is None:
        return None
    try:
        return Published(parse(message.data or b"")["timestamp"], message.time)
    except InvalidEventError:
        return None
