"""Which of several workers makes a slot: the one that claims it, and the others too if its event does not come."""

import asyncio
import logging
from datetime import datetime

from crypto_updates.bus import claims, event, history
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.clock.timetable import budget
from worker.config import WorkerSettings
from worker.metrics import LAST_SLOT

log = logging.getLogger(__name__)

# The others wait this share of the fetch's time, so that their own fetch still ends before the next slot.
WAIT_SHARE, MAX_WAIT_SECONDS = 1 / 3, 10.0
# NATS answers a claim within milliseconds. When it does not, most of the time is left for the fetch.
MAX_CLAIM_SECONDS = 2.0


class Turns:
    """Asks NATS. When NATS cannot tell, each worker makes the slot, and the stream keeps one event of each id."""

    def __init__(self, settings: WorkerSettings, bus: Bus) -> None:
        self._settings = settings
        self._cron = settings.cron
        self._bus = bus

    async def claim(self, slot: datetime) -> bool:
        """True when this worker is the first to claim the slot, and when NATS cannot tell."""
        identity = event.identity(self._settings.feed, slot)
        patience = min(self._wait_seconds(slot), MAX_CLAIM_SECONDS)
        try:
            connection = await self._bus.connection(patience)
        except UnreachableError:
            return True
        return await claims.claim(connection, identity, self._settings.stream_replicas, patience)

    async def comes(self, slot: datetime) -> bool:
        """Wait for the event of the worker that claimed the slot. True when it is in the stream."""
        seconds = self._wait_seconds(slot)
        await asyncio.sleep(seconds)
        if await self._is_published(slot):
            log.info("[TURN] Another worker has sent the crypto.update event of %s", event.text(slot))
            LAST_SLOT.set(slot.timestamp())
            return True
        log.warning(
            "[TURN] No event of %s after %.1f s from the worker that claimed it (another one, or this one before a"
            " restart): making it here",
            *(event.text(slot), seconds),
        )
        return False

    def _wait_seconds(self, slot: datetime) -> float:
        return min(WAIT_SHARE * budget(self._cron, slot), MAX_WAIT_SECONDS)

    async def _is_published(self, slot: datetime) -> bool:
        """False, too, when the server cannot tell."""
        try:
            connection = await self._bus.connection(0)
            return await connection.unless_lost(history.holds(connection, self._settings.feed, slot))
        except (*LINK_ERRORS, UnreachableError):
            return False
