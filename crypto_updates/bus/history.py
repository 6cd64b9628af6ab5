"""The newest events of a feed in the stream."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import nats.errors
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import InvalidEventError, NotPermittedError
from crypto_updates.bus.event import MSG_ID, PUBLICATION, SUBJECT, parse
from crypto_updates.bus.stream import STREAM

log = logging.getLogger(__name__)

# Others publish on the subject too, and old slots may be published by hand, so the last message is not enough.
MAX_MESSAGES = 20_000
# Each may be as large as max_payload.
MESSAGES_AT_ONCE = 20
GET = f"STREAM.MSG.GET.{STREAM}"


class Published(NamedTuple):
    """An event's slot, when the stream stored it, and with which sequence."""

    slot: datetime
    stored: datetime
    seq: int = 0


async def newest(connection: Connection, feed: str, enough: Callable[[Published], bool]) -> list[Published]:
    """The feed's newest events, back to one that is `enough`; none with core NATS and without permission.

    Raises nats.errors.Error, also when the server does not answer.
    """
    return await connection.unless_lost(_newest(connection, feed, enough))


async def _newest(connection: Connection, feed: str, enough: Callable[[Published], bool]) -> list[Published]:
    if connection.js is None:
        return []
    found: list[Published] = []
    try:
        end = (await connection.js.get_last_msg(STREAM, SUBJECT)).seq or 0
        for number in range(end, max(end - MAX_MESSAGES, 0), -MESSAGES_AT_ONCE):
            numbers = range(number, max(number - MESSAGES_AT_ONCE, 0), -1)
            messages = await asyncio.gather(*(_get(connection.js, number) for number in numbers))
            events = [event for message in messages if message and (event := _published(message, feed))]
            found += events
            if any(map(enough, events)):
                return found
    except NotFoundError:
        return []
    except nats.errors.TimeoutError:
        if not connection.is_refused(connection.api(GET)):
            raise
        log.debug("[NATS] The newest events cannot be read: not permitted")
        return []
    if end > MAX_MESSAGES and not found:
        log.warning(
            "[NATS] The newest %d messages have no event of feed %s: cannot tell what was missed", MAX_MESSAGES, feed
        )
    return found


async def holds(connection: Connection, feed: str, slot: datetime) -> bool:
    """True when the stream has the slot's event. Raises nats.errors.Error, also when the stream is empty."""
    return await connection.unless_lost(_holds(connection, feed, slot))


async def _holds(connection: Connection, feed: str, slot: datetime) -> bool:
    if connection.js is None:
        return False
    # It mostly is the last message, and many workers may ask at once.
    last = _published(await connection.js.get_last_msg(STREAM, SUBJECT), feed)
    if last and last.slot == slot:
        return True
    # What was stored before the slot is not its event.
    found = await _newest(connection, feed, lambda found: found.slot == slot or found.stored < slot)
    return any(published.slot == slot for published in found)


async def message(connection: Connection, seq: int) -> tuple[dict[str, str], bytes] | None:
    """The headers and the body of a message in the stream, None if it is deleted. Raises nats.errors.Error."""
    if (found := await connection.unless_lost(_get(connection.jetstream(), seq))) is None:
        return None
    # A header that is not UTF-8 is not a str.
    return {name: str(value) for name, value in (found.headers or {}).items()}, found.data or b""


async def has(connection: Connection, seq: int, publication: str) -> bool:
    """True if the message in the stream is of this publication. Raises one of LINK_ERRORS."""
    found = None
    with contextlib.suppress(NotPermittedError):
        found = await connection.permitted(_get(connection.jetstream(), seq), [GET])
    return found is not None and (found.headers or {}).get(PUBLICATION) == publication


async def _get(js: JetStreamContext, number: int) -> RawStreamMsg | None:
    try:
        return await js.get_msg(STREAM, number)
    except NotFoundError:
        return None  # deleted


def _published(message: RawStreamMsg, feed: str) -> Published | None:
    # A header that is not UTF-8 is not a str.
    identity = str((message.headers or {}).get(MSG_ID, ""))
    if not identity.startswith(f"{feed}@") or message.time is None:
        return None
    try:
        return Published(parse(message.data or b"")["timestamp"], message.time, message.seq or 0)
    except InvalidEventError:
        return None
