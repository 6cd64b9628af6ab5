"""What the stream has already: the newest events of a feed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.event import MSG_ID, SUBJECT, parse
from crypto_updates.bus.stream import STREAM

log = logging.getLogger(__name__)

# Others publish on the subject too, and old slots are published by hand: so many of the newest messages are looked at,
# a few at once, because each may be as large as max_payload.
LOOK_BACK, AT_ONCE = 20_000, 20
GET = f"STREAM.MSG.GET.{STREAM}"


class Published(NamedTuple):
    """An event of the feed: its slot, and when the stream stored it."""

    slot: datetime
    stored: datetime


async def newest(connection: Connection, feed: str, enough: Callable[[Published], bool]) -> list[Published]:
    """The feed's newest events, back to one that is `enough`; none where they are not to be known.

    Raises nats.errors.Error, also when the server does not answer.
    """
    if connection.js is None:
        return []
    found: list[Published] = []
    try:
        end = (await connection.js.get_last_msg(STREAM, SUBJECT)).seq or 0
        for number in range(end, max(end - LOOK_BACK, 0), -AT_ONCE):
            numbers = range(number, max(number - AT_ONCE, 0), -1)
            messages = await asyncio.gather(*(_get(connection.js, number) for number in numbers))
            found += [event for message in messages if message and (event := _published(message, feed))]
            if any(map(enough, found)):
                return found
    except NotFoundError:
        return []
    except nats.errors.TimeoutError:
        if not connection.is_refused(connection.api(GET)):
            raise
        log.debug("[NATS] The newest events cannot be read: not permitted")
        return []
    if end > LOOK_BACK:
        log.warning("[NATS] The newest %d messages have none of feed %s: what was missed is not known", LOOK_BACK, feed)
    return found


async def holds(connection: Connection, feed: str, slot: datetime) -> bool:
    """True if the stream has the slot's event. Raises nats.errors.Error, also when there is none at all."""
    if connection.js is None:
        return False
    # Mostly, it is the last message; and many workers may ask at once.
    last = _published(await connection.js.get_last_msg(STREAM, SUBJECT), feed)
    if last and last.slot == slot:
        return True
    # Nothing that was stored before a slot is its event.
    found = await newest(connection, feed, lambda found: found.slot == slot or found.stored < slot)
    return any(published.slot == slot for published in found)


async def _get(js: JetStreamContext, number: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(STREAM, number)
    except NotFoundError:
        return None  # deleted


def _published(message: RawStreamMsg, feed: str) -> Published | None:
    # A header that is not UTF-8 is no str.
    identity = str((message.headers or {}).get(MSG_ID, ""))
    if not identity.startswith(f"{feed}@") or message.time is None:
        return None
    try:
        return Published(parse(message.data or b"")["timestamp"], message.time)
    except InvalidEventError:
        return None
