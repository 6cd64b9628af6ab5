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

# Others publish on the subject too, so the feed's events are looked for among so many of the newest messages: first
# among a few, which as a rule have them, and then among more.
LOOK_BACK = (20, 200, 2_000, 20_000)
AT_ONCE = 200


class Published(NamedTuple):
    """An event of the feed: its slot, and when the stream stored it."""

    slot: datetime
    stored: datetime


async def newest(connection: Connection, feed: str) -> list[Published]:
    """The feed's events among the stream's newest messages; none where that is not to be known.

    Raises nats.errors.Error, also when the server does not answer.
    """
    if connection.js is None:
        return []
    try:
        newest = (await connection.js.get_last_msg(STREAM, SUBJECT)).seq or 0
        begin = newest
        for look_back in LOOK_BACK:
            begin, end = max(newest - look_back, 0), begin
            if found := await _between(connection.js, feed, begin, end):
                return found
    except NotFoundError:
        return []
    except nats.errors.TimeoutError:
        await connection.nc.flush(2)
        log.debug("[NATS] The newest events cannot be read: not permitted")
    return []


async def _between(js: JetStreamContext, feed: str, begin: int, end: int) -> list[Published]:
    """Those with a sequence above `begin`, up to `end`."""
    found = []
    for first in range(begin + 1, end + 1, AT_ONCE):
        numbers = range(first, min(first + AT_ONCE, end + 1))
        messages = await asyncio.gather(*(_get(js, number) for number in numbers))
        found += [published for message in messages if message and (published := _published(message, feed))]
    return found


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
