"""Whose turn a slot is: of several workers one asks the market, and if its event does not come, another."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from crypto_updates.bus import claims, event, history
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import budget
from worker.config import WorkerSettings
from worker.metrics import LAST_SLOT

log = logging.getLogger(__name__)

# Workers that ask the market for one slot.
MOST = 3
# Seconds until it is the next one's turn, at most. All of them and a last fetch end before the next slot.
SHARE, LONGEST = 1 / MOST, 10.0


class Turns:
    """NATS is asked who was first (`bus.claims`).

    Where it does not tell, it is everybody's turn, and the stream keeps one of the events, since they have the same id.
    """

    def __init__(self, settings: WorkerSettings, cron: Cron, bus: Bus) -> None:
        self._settings = settings
        self._cron = cron
        self._bus = bus

    async def first(self, slot: datetime) -> bool:
        """True if this worker is the one to make the slot's event."""
        return await self._claim(slot, 1)

    async def later(self, slot: datetime) -> bool | None:
        """Wait for another worker's event. True if it does not come and it is this worker's turn now, False if it has
        come, and None if it does not come and nobody is left to ask the market.
        """
        seconds = budget(self._cron, slot)
        for number in range(2, MOST + 1):
            await asyncio.sleep(min(SHARE * seconds, LONGEST))
            if await self._is_published(slot):
                return False
            if await self._claim(slot, number):
                log.warning("[TURN] No event of %s from another worker: making it here", event.text(slot))
                return True
        await asyncio.sleep(seconds)
        if await self._is_published(slot):
            return False
        log.warning("[TURN] No event of %s from any worker: the event goes without data", event.text(slot))
        return None

    async def _claim(self, slot: datetime, number: int) -> bool:
        identity = f"{event.identity(self._settings.feed, slot)}/{number}"
        # An answer takes milliseconds; what is left of the time is for the market.
        patience = SHARE * min(budget(self._cron, slot), LONGEST)
        try:
            connection = await self._bus.connection(0)
        except UnreachableError:
            return True
        return await claims.claim(connection, identity, self._settings.stream_replicas, patience)

    async def _is_published(self, slot: datetime) -> bool:
        """False too where the server does not tell."""
        try:
            connection = await self._bus.connection(0)
            if not await connection.unless_lost(history.holds(connection, self._settings.feed, slot)):
                return False
        except (*LINK_ERRORS, UnreachableError):
            return False
        log.info("[TURN] Another worker has sent the crypto.update event of %s", event.text(slot))
        LAST_SLOT.set(slot.timestamp())
        return True
