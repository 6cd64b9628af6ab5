"""What one slot takes: fetch the market, make the event, publish it."""

import logging
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from crypto_updates.bus import event, spans, trace
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import Receipt
from crypto_updates.bus.event import Event, Quote
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import is_past
from worker import trigger
from worker.config import WorkerSettings
from worker.market import Market, MarketError, outage
from worker.metrics import FETCH_FAILURES, FETCH_SECONDS, LAST_SLOT, PUBLISHED

log = logging.getLogger(__name__)

# Room for the headers and the protocol within the server's max_payload, which counts headers too.
HEADERS_BYTES = 1024
# Between two fetches of past slots. It spares a source that limits the requests of a minute, and a slow one even more.
REST_SHARE, MAX_REST_SECONDS = 2.0, 5.0


async def make(slot: datetime, market: Market | None, seconds: float) -> Event:
    """The slot's event. A slot is never silent: when the market fails, the event goes without data."""
    if market is None:
        return Event(timestamp=slot)
    try:
        return await fetch(slot, market, seconds)
    except MarketError as error:
        log.warning("[MARKET] No data for %s: %s; the event goes without", event.text(slot), error)
    except Exception:
        log.exception("[MARKET] No data for %s; the event goes without", event.text(slot))
    FETCH_FAILURES.inc()
    return Event(timestamp=slot)


async def fetch(slot: datetime, market: Market, seconds: float) -> Event:
    """The slot's event with the market's quotes. Raises MarketError."""
    outage.check()
    with FETCH_SECONDS.time():
        quotes = await market.fetch(slot, seconds)
    source, quotes = _attributed(market.name, quotes)
    return Event(timestamp=slot, source=source, data=quotes, fetched_at=datetime.now(UTC).replace(microsecond=0))


def _attributed(name: str, quotes: tuple[Quote, ...]) -> tuple[str, tuple[Quote, ...]]:
    """The event's source, and the quotes, which say their own only if there are two. The market's own comes first."""
    given = {quote.source or name for quote in quotes}
    if len(given) <= 1:
        return given.pop() if given else name, tuple(replace(quote, source=UNSET) for quote in quotes)
    source = "+".join(sorted(given, key=lambda other: (other != name, other)))
    return source, tuple(replace(quote, source=quote.source or name) for quote in quotes)


def knowing(market: Market | None, slot: datetime, cron: Cron) -> Market | None:
    """The market to ask for the slot, which may be past. None if there is none that knows it."""
    return past(market, slot) if is_past(cron, slot, datetime.now(UTC)) else market


def past(market: Market | None, slot: datetime) -> Market | None:
    """The market to ask for a slot that is past. None if there is none."""
    if market and not market.past:
        log.info("[MARKET] %s is past, and the market knows only the present: no data", event.text(slot))
    return market and market.past


def rest(took: float) -> float:
    """The seconds to rest after a fetch of a past slot that took so many."""
    return min(REST_SHARE * took, MAX_REST_SECONDS)


def messages(slot: datetime, body: bytes, feed: str, max_payload: int) -> list[tuple[str, bytes]]:
    """The body with its id, or its parts with theirs if it exceeds the server's max_payload (bytes)."""
    limit = max_payload - HEADERS_BYTES
    parts = [body] if len(body) <= limit else _split(slot, body, limit)
    if len(parts) == 1:
        return [(event.identity(feed, slot), parts[0])]
    return [(event.identity(feed, slot, number), part) for number, part in enumerate(parts, 1)]


def _split(slot: datetime, body: bytes, limit: int) -> list[bytes]:
    """The event in parts of at most `limit` bytes, or without data if it cannot be split: a slot is never silent."""
    try:
        whole = msgspec.json.decode(body, type=Event)
    except msgspec.MsgspecError as error:
        log.error("[PUBLISH] Cannot split the event of %s (%s); it goes without data", event.text(slot), error)
        return [event.encode(Event(timestamp=slot))]
    parts = [event.encode(part) for part in event.split(whole, limit)]
    if all(len(part) <= limit for part in parts):
        return parts
    log.warning("[PUBLISH] One quote alone exceeds %d bytes; the event goes without data", limit)
    return [event.encode(Event(timestamp=slot))]


async def publish(slot: datetime, body: bytes, settings: WorkerSettings, bus: Bus) -> list[Receipt]:
    """Publish the slot's event, in parts if need be, until the server has acknowledged each part; then the trigger."""
    max_payload, feed = (await bus.connection()).nc.max_payload, settings.feed
    parts = messages(slot, body, feed, max_payload)
    with spans.publishing(parts) as traceparent:
        receipts = [
            await bus.publish(part, event.headers(feed, slot, identity, traceparent)) for identity, part in parts
        ]
    for receipt in receipts:
        PUBLISHED.labels("duplicate" if receipt.duplicate else "sent").inc()
    LAST_SLOT.set(slot.timestamp())
    at, extra = slot.astimezone(settings.cron.zone).strftime("%H:%M:%S"), {trace.TRACEPARENT: traceparent}
    if all(receipt.duplicate for receipt in receipts):
        known = "[PUBLISH] The stream has the crypto.update event at %s already (seq %s)"
        log.info(known, at, receipts[0].seq, extra=extra)
    else:
        sent = [(part, receipt) for (_, part), receipt in zip(parts, receipts, strict=True)]
        triggered = await trigger.send(bus, settings.trigger_subject, settings.trigger_body, sent)
        subjects = " and ".join([event.SUBJECT, *triggered])
        log.info("[PUBLISH] Sent crypto.update event at %s on %s", at, subjects, extra=extra)
    return receipts
