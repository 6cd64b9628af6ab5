"""What one slot takes: fetch the market, make the event, publish it."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from crypto_updates.bus import event
from crypto_updates.bus.client import Bus, Receipt
from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import Cron
from worker.market import Market, MarketError
from worker.metrics import FETCH_FAILURES, LAST_SLOT, PUBLISHED

log = logging.getLogger(__name__)

# Room for the headers and the protocol within the server's max_payload, which counts headers too.
HEADERS = 1024


async def make(slot: datetime, market: Market | None, seconds: float) -> Event:
    """The slot's event. A slot is never silent: when the market fails, the event goes without data."""
    if market is None:
        return Event(timestamp=slot)
    try:
        quotes = await market.fetch(slot, seconds)
    except MarketError as error:
        FETCH_FAILURES.inc()
        log.warning("[MARKET] No data for %s: %s; the event goes without", event.text(slot), error)
    except Exception:
        FETCH_FAILURES.inc()
        log.exception("[MARKET] No data for %s; the event goes without", event.text(slot))
    else:
        return Event(
            timestamp=slot, source=market.name, data=quotes, fetched_at=datetime.now(UTC).replace(microsecond=0)
        )
    return Event(timestamp=slot)


def messages(whole: Event, feed: str, max_payload: int) -> list[tuple[str, Event]]:
    """The event with its id, or its parts with theirs where it would pass the server's max_payload (bytes)."""
    limit = max_payload - HEADERS
    parts = event.split(whole, limit)
    if any(len(event.encode(part)) > limit for part in parts):
        log.warning("[PUBLISH] A quote alone passes max_payload=%d; the event goes without data", max_payload)
        parts = [Event(timestamp=whole.timestamp)]
    if len(parts) == 1:
        return [(event.identity(feed, whole.timestamp), parts[0])]
    return [(event.identity(feed, part.timestamp, number), part) for number, part in enumerate(parts, 1)]


async def publish(whole: Event, feed: str, bus: Bus, cron: Cron) -> list[Receipt]:
    """Publish the event, in parts if need be, until the server has acknowledged it."""
    max_payload = (await bus.connection()).nc.max_payload
    receipts = [
        await bus.publish(event.encode(part), event.headers(feed, part, identity))
        for identity, part in messages(whole, feed, max_payload)
    ]
    at = whole.timestamp.astimezone(cron.zone).strftime("%H:%M:%S")
    if all(receipt.duplicate for receipt in receipts):
        log.info("[PUBLISH] The stream has the crypto.update event at %s already (seq %s)", at, receipts[0].seq)
    else:
        log.info("[PUBLISH] Sent crypto.update event at %s", at)
    for receipt in receipts:
        PUBLISHED.labels("duplicate" if receipt.duplicate else "sent").inc()
    LAST_SLOT.set(whole.timestamp.timestamp())
    return receipts
