"""The part in NATS: the streams with the settings of this version, and the durable consumer."""

import logging

from crypto_updates.bus import claims
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.stream import DURABLE, STREAM, stream_config, update_consumer, update_stream
from stack.setup.errors import SetupError

log = logging.getLogger(__name__)


async def provision(settings: BusSettings, patience: float) -> None:
    """Wait `patience` seconds for the server at most. Raises SetupError and UnreachableError."""
    async with Bus(settings, "provision") as bus:
        connection = await bus.connection(patience)
        if connection.js is None:
            log.warning("[NATS] No JetStream: there is no stream to make")
            return
        try:
            for config in (stream_config, claims.stream_config):
                await update_stream(connection.js, config(settings.stream_replicas))
            await update_consumer(connection.js)
        except LINK_ERRORS as error:
            raise SetupError(f"NATS: {error}") from error
    log.info("[NATS] Stream %s and consumer %s are ready", STREAM, DURABLE)
