"""From the bus to the store: check each event, write the batch, and acknowledge what MongoDB has confirmed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from api_stub.errors import StoreUnavailableError
from api_stub.metrics import Metrics
from api_stub.store import Document, Store, Written
from crypto_updates.bus import event
from crypto_updates.bus.consumer import CORE_EVENTS, Consumer
from crypto_updates.bus.delivery import Delivery
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.service import lifecycle

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 5.0
# One batch is prepared while MongoDB writes the other.
BATCHES_AT_ONCE = 2
# A larger batch gets one log line for all of its events.
LINES_PER_BATCH = 20
LAST_BATCH_EVENTS = 500
# The largest body that fits into a MongoDB document together with its headers.
MAX_RAW_BYTES = 15 * 1024**2


class Subscriber:
    def __init__(self, consumer: Consumer, store: Store, metrics: Metrics, rate: float | None = None) -> None:
        """`rate` is the limit of events a second."""
        self._consumer = consumer
        self._store = store
        self._metrics = metrics
        self._rate = rate
        self._down_since: float | None = None
        self._unstored = 0

    async def run(self) -> None:
        """Store until cancelled. Then store what has been received, for up to GRACE_SECONDS, and tell what is lost."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(1 if self._rate else BATCHES_AT_ONCE):
                    group.create_task(self._store_on())
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(lifecycle.left(lifecycle.GRACE_SECONDS)):
                    await self._finish()

    async def _store_on(self) -> None:
        allowed = time.monotonic()
        while True:
            batch = await self._consumer.take()
            await lifecycle.finish(self._handle(batch))
            if self._rate:
                allowed = max(allowed, time.monotonic() - 1 / self._rate) + len(batch) / self._rate
                await asyncio.sleep(allowed - time.monotonic())

    async def _finish(self) -> None:
        try:
            await self._consumer.stop()
            while batch := self._consumer.rest(LAST_BATCH_EVENTS):
                await self._handle(batch)
        finally:
            self._tell_lost()

    async def _handle(self, batch: Sequence[Delivery]) -> None:
        try:
            await self.handle(batch)
        except asyncio.CancelledError:
            self._unstored += _core(batch)
            raise

    def _tell_lost(self) -> None:
        """JetStream delivers again what was not acknowledged. Core NATS does not."""
        if lost := self._unstored + _core(self._consumer.rest(CORE_EVENTS)):
            self._metrics.dropped.inc(lost)
            log.warning("[NATS] %d events of core NATS could not be stored before the stop and are lost", lost)

    async def handle(self, batch: Sequence[Delivery]) -> None:
        """Store each delivery in `events` or in `dead_letters`, then acknowledge it."""
        received = datetime.now(UTC)
        good: list[tuple[Delivery, Document]] = []
        bad: list[tuple[Delivery, str]] = []
        for delivery in batch:
            try:
                good.append((delivery, document(delivery, received)))
            except InvalidEventError as error:
                bad.append((delivery, str(error)))
            except Exception as error:
                # Otherwise the message would come back for ever, and end the service each time.
                log.exception("[EVENT] Not understood (%s)", _where(delivery))
                bad.append((delivery, f"body: {type(error).__name__}"))
        events = [doc for _, doc in good]
        written = await self._retried(self._store.add_events, events)
        bad += [(good[index][0], reason) for index, reason in written.rejected.items()]
        buried = await self._retried(self._store.add_dead_letters, [dead_letter(*letter) for letter in bad])
        for index, reason in buried.rejected.items():
            log.error("[EVENT] Not acknowledged: dead_letters cannot take it: %s (%s)", reason, _where(bad[index][0]))
        left = {id(bad[index][0]) for index in buried.rejected}
        for delivery in batch:
            if id(delivery) not in left:
                await delivery.ack()
        dead = len(bad) - len(buried.rejected) - len(buried.duplicates)
        self._metrics.count(batch, events, written, dead)
        _tell(good, written, [letter for letter in bad if id(letter[0]) not in left])

    async def _retried(
        self, write: Callable[[Sequence[Document]], Awaitable[Written]], documents: Sequence[Document]
    ) -> Written:
        """Write until it succeeds. An outage of MongoDB is logged once; meanwhile the events wait."""
        if not documents:
            return Written(set(), {})
        wait = FIRST_RETRY_SECONDS
        while True:
            try:
                written = await write(documents)
            except StoreUnavailableError as error:
                if not self._down_since:
                    self._down_since = time.monotonic()
                    log.error("[MONGO] MongoDB is unavailable; events wait, retrying: %s", error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY_SECONDS)
            else:
                if self._down_since:
                    log.warning("[MONGO] Storing again after %.0f s", time.monotonic() - self._down_since)
                    self._down_since = None
                return written


def document(delivery: Delivery, received: datetime) -> dict[str, Any]:
    """Raises InvalidEventError."""
    return stored(delivery.identity, delivery.body, delivery.seq, received)


def stored(identity: str, body: bytes, seq: int | None, received: datetime) -> dict[str, Any]:
    """Return the event as `events` keeps it, from its parts. Raises InvalidEventError."""
    return {"_id": identity, **event.parse(body), "received_at": received, "stream_seq": seq}


def dead_letter(delivery: Delivery, reason: str) -> dict[str, Any]:
    """Return the message as `dead_letters` keeps it."""
    return {
        "_id": delivery.place,
        "raw": delivery.body[:MAX_RAW_BYTES],
        "headers": {name.replace("\0", "\ufffd"): value for name, value in delivery.headers.items()},
        "reason": reason,
        "stream_seq": delivery.seq,
        "received_at": datetime.now(UTC),
    }


def _tell(good: Sequence[tuple[Delivery, Document]], written: Written, bad: Sequence[tuple[Delivery, str]]) -> None:
    for delivery, reason in bad:
        log.warning("[EVENT] Invalid event format: %s (%s): moved to dead_letters", reason, _where(delivery))
    if (stored := len(good) - len(written.rejected)) > LINES_PER_BATCH:
        log.info("[EVENT] Stored %d events; %d of them were already stored", stored, len(written.duplicates))
        return
    for index, (delivery, doc) in enumerate(good):
        if index in written.duplicates:
            log.info("[EVENT] Already stored: %s (%s)", printable(doc["_id"]), _where(delivery))
        elif index not in written.rejected:
            log.info("[EVENT] Stored %s (%s)", printable(doc["_id"]), _where(delivery))


def printable(identity: str) -> str:
    """Return a publisher's id without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in identity)


def _core(batch: Sequence[Delivery]) -> int:
    return sum(delivery.seq is None for delivery in batch)


def _where(delivery: Delivery) -> str:
    return "core NATS" if delivery.seq is None else f"seq {delivery.seq}"
