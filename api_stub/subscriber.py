"""From the bus to the store: check each event, write the batch, and acknowledge only what MongoDB has confirmed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from api_stub.errors import StoreUnavailableError
from api_stub.store import Document, Store, Written
from bus import event, service
from bus.consumer import Consumer, Delivery
from bus.errors import InvalidEventError

log = logging.getLogger(__name__)

FIRST_WAIT, LONGEST_WAIT = 1.0, 5.0
# Up to this many events of a batch have a log line each.
LINES = 20
# The largest body that fits a MongoDB document beside its headers.
MAX_RAW = 15 * 1024 * 1024


class Subscriber:
    def __init__(self, consumer: Consumer, store: Store, rate: float | None = None) -> None:
        """`rate`: events a second at most, None for no limit."""
        self._consumer = consumer
        self._store = store
        self._rate = rate

    async def run(self) -> None:
        allowed = time.monotonic()
        while True:
            batch = await self._consumer.take()
            await service.finished(self.handle(batch))
            if self._rate:
                allowed = max(allowed, time.monotonic() - 1 / self._rate) + len(batch) / self._rate
                await asyncio.sleep(allowed - time.monotonic())

    async def handle(self, batch: Sequence[Delivery]) -> None:
        """Each delivery ends in `events` or in `dead_letters`, and then is acknowledged."""
        good: list[tuple[Delivery, Document]] = []
        bad: list[tuple[Delivery, str]] = []
        for delivery in batch:
            try:
                good.append((delivery, document(delivery)))
            except InvalidEventError as error:
                bad.append((delivery, str(error)))
        written = await self._retried(self._store.add_events, [d for _, d in good])
        bad += [(good[index][0], reason) for index, reason in written.rejected.items()]
        buried = await self._retried(self._store.add_dead_letters, [dead_letter(*letter) for letter in bad])
        kept = {bad[index][0].place: reason for index, reason in buried.rejected.items()}
        for delivery in batch:
            if kept and (reason := kept.get(delivery.place)):
                log.error("[EVENT] Left in the stream, dead_letters cannot take it: %s (%s)", reason, _where(delivery))
            else:
                await delivery.ack()
        _tell(good, written, bad)

    async def _retried(
        self, write: Callable[[Sequence[Document]], Awaitable[Written]], documents: Sequence[Document]
    ) -> Written:
        """Write until it succeeds: an outage of MongoDB holds the pipeline, and loses nothing. It is told once."""
        wait, down_since = FIRST_WAIT, None
        while True:
            try:
                written = await write(documents)
            except StoreUnavailableError as error:
                if not down_since:
                    down_since = time.monotonic()
                    log.error("[MONGO] Not stored, nothing acknowledged; trying again until it is: %s", error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            else:
                if down_since:
                    log.warning("[MONGO] Storing again after %.0f s", time.monotonic() - down_since)
                return written


def document(delivery: Delivery) -> dict[str, Any]:
    """The event as `events` keeps it. Raises InvalidEventError."""
    return {
        "_id": delivery.identity,
        **event.parse(delivery.body),
        "received_at": datetime.now(UTC),
        "stream_seq": delivery.seq,
    }


def dead_letter(delivery: Delivery, reason: str) -> dict[str, Any]:
    """The message as `dead_letters` keeps it."""
    return {
        "_id": delivery.place,
        "raw": delivery.body[:MAX_RAW],
        "headers": {name.replace("\0", "\ufffd"): value for name, value in delivery.headers.items()},
        "reason": reason,
        "stream_seq": delivery.seq,
        "received_at": datetime.now(UTC),
    }


def _tell(good: Sequence[tuple[Delivery, Document]], written: Written, bad: Sequence[tuple[Delivery, str]]) -> None:
    for delivery, reason in bad:
        log.warning("[EVENT] Invalid event format: %s (%s): moved to dead_letters", reason, _where(delivery))
    stored = [pair for index, pair in enumerate(good) if index not in written.rejected]
    if len(stored) > LINES:
        log.info("[EVENT] Stored %d events, of which %d were there already", len(stored), len(written.duplicates))
        return
    for index, (delivery, doc) in enumerate(good):
        if index in written.duplicates:
            log.info("[EVENT] Already stored: %s (%s)", doc["_id"], _where(delivery))
        elif index not in written.rejected:
            log.info("[EVENT] Stored %s (%s)", doc["_id"], _where(delivery))


def _where(delivery: Delivery) -> str:
    return "core NATS" if delivery.seq is None else f"seq {delivery.seq}"
