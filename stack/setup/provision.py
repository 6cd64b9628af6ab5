"""`crypto-updates provision`: makes what the services need in NATS and MongoDB; safe to run again.

Exits with 0 when both are ready, with 1 when one could not be reached in time.
"""

import asyncio
import logging
from argparse import ArgumentParser

from crypto_updates.bus.errors import UnreachableError
from crypto_updates.service import lifecycle
from stack.setup import database, streams
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
        await streams.provision(settings, SERVER_WAIT_SECONDS)
    except (SetupError, UnreachableError) as error:
        log.error("[PROVISION] %s", error)
        return 1
    return 0
