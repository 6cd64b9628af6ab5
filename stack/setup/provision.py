"""`crypto-updates provision`: makes what the services need in NATS and MongoDB; safe to run again.

Exits with 0 when both are ready, with 1 when one could not be reached in time.
"""

import asyncio
import logging
from argparse import ArgumentParser

from crypto_updates.bus import claims
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.bus.stream import DURABLE, STREAM, stream_config, update_consumer, update_stream
from crypto_updates.service import errors, lifecycle
from stack.setup import database
from stack.setup.config import ProvisionSettings
from stack.setup.errors import SetupError

log = logging.getLogger(__name__)

SERVER_WAIT_SECONDS = 60.0


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.parse_args(argv)
    return lifecycle.main(ProvisionSettings, provision, lasting=False)


async def provision(settings: ProvisionSettings) -> int:
    try:
        await asyncio.to_thread(database.provision, settings, SERVER_WAIT_SECONDS)
        await _provision_nats(settings)
    except (SetupError, UnreachableError) as error:
        log.error("[PROVISION] %s", error)
        return 1
    return 0


async def _provision_nats(settings: BusSettings) -> None:
    """Make the streams with the settings of this version, and the consumer. Raises SetupError and UnreachableError."""
    async with Bus(settings, "provision") as bus:
        connection = await bus.connection(SERVER_WAIT_SECONDS)
        if connection.js is None:
            log.warning("[NATS] No JetStream: there is no stream to make")
            return
        try:
            for config in (stream_config, claims.stream_config):
                await update_stream(connection.js, config(settings.stream_replicas))
            await update_consumer(connection.js)
        except LINK_ERRORS as error:
            raise SetupError(f"NATS: {errors.text(error)}") from error
    log.info("[NATS] Stream %s and consumer %s are ready", STREAM, DURABLE)
