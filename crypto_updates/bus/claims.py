"""Claims: of those who ask the server for the same thing, one is told that it is theirs."""

from __future__ import annotations

import asyncio
import logging

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError

from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.event import MSG_ID
from crypto_updates.service import errors

log = logging.getLogger(__name__)

STREAM = "CRYPTO_CLAIMS"
SUBJECT = "crypto.claims"
# Seconds that a claim holds.
HOLDS = 3600.0
# What a cluster answers while the first claim of an id is on its way into the stream: JSStreamDuplicateMessageConflict
# (nats-server/server/errors.json).
IN_PROCESS = 10158


def stream_config(replicas: int) -> StreamConfig:
    """The stream that drops the second claim of an id as it would a second event. Nobody reads what it keeps.

    It is a file, because a server that starts again has no memory, and forgets the stream with it.
    """
    return StreamConfig(
        name=STREAM,
        subjects=[SUBJECT],
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=HOLDS,
        duplicate_window=HOLDS,
        max_bytes=1024**2,
        num_replicas=replicas,
    )


async def claim(connection: Connection, identity: str, replicas: int, patience: float) -> bool:
    """True for the first one to claim the id.

    True as well where that is not to be known, with core NATS, without permission or without an answer in `patience`
    seconds: to do a thing twice is better than not at all.
    """
    if connection.js is None or connection.is_refused(SUBJECT):
        return True
    try:
        async with asyncio.timeout(patience):
            return await _claimed(connection, connection.js, identity, replicas)
    except LINK_ERRORS as error:
        log.debug("[NATS] Claim of %s: %s", identity, errors.text(error))
        return True


async def _claimed(connection: Connection, js: JetStreamContext, identity: str, replicas: int) -> bool:
    async def publish() -> bool:
        try:
            ack = await js.publish(SUBJECT, stream=STREAM, headers={MSG_ID: identity})
        except APIError as error:
            if error.err_code == IN_PROCESS:
                return False
            raise
        return not ack.duplicate

    try:
        return await connection.unless_lost(publish())
    except NoStreamResponseError:
        # Nobody has provisioned this server.
        if connection.is_refused(connection.api(f"STREAM.CREATE.{STREAM}")):
            return True
        await connection.unless_lost(js.add_stream(stream_config(replicas)))
        return await connection.unless_lost(publish())
