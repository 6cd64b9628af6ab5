"""Claims: the first worker to claim an id gets it; the stream drops the others' claims as duplicates."""

import asyncio
import logging
from functools import partial

from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NoStreamResponseError

from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.event import MSG_ID
from crypto_updates.service import errors

log = logging.getLogger(__name__)

STREAM = "CRYPTO_CLAIMS"
SUBJECT = "crypto.claims"
CLAIM_SECONDS = 3600.0
# A cluster answers so while it still stores the first claim of an id: JSStreamDuplicateMessageConflict in
# nats-server/server/errors.json.
DUPLICATE_CONFLICT = 10158


def stream_config(replicas: int) -> StreamConfig:
    """The stream drops the second claim of an id. Nobody reads what it keeps.

    It is stored in a file: a server that restarts forgets a stream in memory.
    """
    return StreamConfig(
        name=STREAM,
        subjects=[SUBJECT],
        storage=StorageType.FILE,
        discard=DiscardPolicy.OLD,
        max_age=CLAIM_SECONDS,
        duplicate_window=CLAIM_SECONDS,
        max_bytes=1024**2,
        num_replicas=replicas,
    )


async def claim(connection: Connection, identity: str, replicas: int, patience: float) -> bool:
    """True for the first worker to claim the id.

    Also True when the server cannot tell (core NATS, no permission, no answer in `patience` seconds): twice is better
    than never.
    """
    if connection.js is None or connection.is_refused(SUBJECT):
        return True
    try:
        async with asyncio.timeout(patience):
            return await connection.unless_lost(_is_first(connection, connection.js, identity, replicas))
    except LINK_ERRORS as error:
        log.debug("[NATS] Claim of %s: %s", identity, errors.text(error))
        return not (isinstance(error, APIError) and error.err_code == DUPLICATE_CONFLICT)


async def _is_first(connection: Connection, js: JetStreamContext, identity: str, replicas: int) -> bool:
    publish = partial(js.publish, SUBJECT, stream=STREAM, headers={MSG_ID: identity})
    try:
        ack = await publish()
    except NoStreamResponseError:
        # The stream is missing: nobody has provisioned this server.
        if connection.is_refused(connection.api(f"STREAM.CREATE.{STREAM}")):
            return True
        await js.add_stream(stream_config(replicas))
        ack = await publish()
    return not ack.duplicate
