"""Provisions NATS and MongoDB, then exits: 0 when both are ready, 1 when one could not be reached in time."""

from __future__ import annotations

import asyncio
import logging
import sys

from crypto_updates.bus.errors import UnreachableError
from crypto_updates.service import lifecycle
from provision import database, streams
from provision.config import Settings
from provision.errors import ProvisionError

log = logging.getLogger(__name__)

# Seconds to wait for each server.
PATIENCE = 60.0


async def run(settings: Settings) -> int:
    try:
        await asyncio.to_thread(database.provision, settings, PATIENCE)
        await streams.provision(settings, PATIENCE)
    except (ProvisionError, UnreachableError) as error:
        log.error("[PROVISION] %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(lifecycle.main(Settings, run, lasting=False))
