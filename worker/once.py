"""`python -m worker --once`: one event now, and the exit status says whether the server has it."""

import argparse
import asyncio
import logging
from datetime import datetime

from crypto_updates.bus import event, instant, trace
from crypto_updates.bus.client import Bus
from crypto_updates.bus.errors import BusError
from worker import tick
from worker.config import WorkerSettings
from worker.freshness import Freshness
from worker.market import Market

log = logging.getLogger(__name__)

# For the connection, and again for the acknowledgement.
NATS_SECONDS = 30.0
FETCH_SECONDS = 30.0


def parse_slot(text: str) -> datetime:
    """An instant with its offset, in whole seconds. Raises ArgumentTypeError."""
    accepted = "an ISO 8601 time in whole seconds with offset, 2023-11-21T14:30:00Z"
    try:
        slot = instant.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}; accepted: {accepted}") from error
    if slot.microsecond:
        raise argparse.ArgumentTypeError(f"{text}: not in whole seconds; accepted: {accepted}")
    return slot


async def publish(slot: datetime, settings: WorkerSettings, market: Market | None) -> int:
    """Publish the slot's event. Return 0 after the server's acknowledgement, 1 without it."""
    cron = settings.cron
    if cron.previous(slot) != slot:
        log.warning("[CRON] %s is no slot of SCHEDULE=%s", event.text(slot), settings.schedule)
    made = await tick.make(slot, market, FETCH_SECONDS)
    Freshness(settings.coins, cron).look(made)
    async with Bus(settings, "worker") as bus:
        try:
            await bus.connection(NATS_SECONDS)
            await asyncio.wait_for(tick.publish(slot, event.encode(made), settings, bus), NATS_SECONDS)
        except BusError as error:
            log.error("[PUBLISH] Not sent: %s", error)
            return 1
        except TimeoutError:
            log.error("[PUBLISH] Not sent: %s gave no acknowledgement within %.0f s", settings.servers, NATS_SECONDS)
            return 1
    return 0


async def show(slot: datetime, feed: str, market: Market | None) -> int:
    """Print what would be published, and publish nothing."""
    made = await tick.make(slot, market, FETCH_SECONDS)
    headers = event.headers(feed, slot, event.identity(feed, slot), trace.fresh())
    lines = [f"subject: {event.SUBJECT}", *(f"{name}: {value}" for name, value in headers.items())]
    print(*lines, "", event.encode(made).decode(), sep="\n")  # noqa: T201 - its output
    return 0
