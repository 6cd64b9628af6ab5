"""Which of several workers makes a slot: the one that claims it, and the others too if its event does not come."""

import asyncio
import contextlib
import logging
from datetime import UTC, datetime

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


async def claim(bus: Bus, settings: WorkerSettings, slot: datetime) -> bool:
    """True when this worker is the first to claim the slot, and when NATS cannot tell.

    Then each worker makes the slot, and the stream keeps one event of each id.
    """
    patience = min(_wait_seconds(settings, slot), MAX_CLAIM_SECONDS)
    try:
        # A worker that has just started can claim, too. Later, an outage must not delay the fetch.
        connection = await bus.connection(patience if bus.is_starting else 0)
    except UnreachableError:
        return True
    return await claims.claim(connection, event.identity(settings.feed, slot), settings.stream_replicas, patience)


def is_early(settings: WorkerSettings, slot: datetime) -> bool:
    """True while no other worker makes the slot that this one has claimed."""
    return (datetime.now(UTC) - slot).total_seconds() < _wait_seconds(settings, slot)


async def holds(bus: Bus, settings: WorkerSettings, slot: datetime) -> bool:
    """True when the slot's event is in the stream. False also when NATS does not tell."""
    with contextlib.suppress(*LINK_ERRORS, UnreachableError):
        connection = await bus.connection(0)
        return await history.holds(connection, settings.feed, slot)
    return False


async def comes(bus: Bus, settings: WorkerSettings, slot: datetime) -> bool:
    """Wait for the event of the worker that claimed the slot. True when it is in the stream."""
    seconds = _wait_seconds(settings, slot)
    await asyncio.sleep(seconds)
    if await holds(bus, settings, slot):
        log.info("[TURN] Another worker has sent the crypto.update event of %s", event.text(slot))
        LAST_SLOT.set(slot.timestamp())
        return True
    log.warning(
        "[TURN] No event of %s after %.1f s from the worker that claimed it (another one, or this one before a"
        " restart): making it here",
        *(event.text(slot), seconds),
    )
    return False


def _wait_seconds(settings: WorkerSettings, slot: datetime) -> float:
    return min(WAIT_SHARE * budget(settings.cron, slot), MAX_WAIT_SECONDS)
