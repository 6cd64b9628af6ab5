"""From the bus to the store: check each event, write the batch, and acknowledge what MongoDB has confirmed."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from api_stub.errors import StoreRefusedError, StoreUnavailableError
from api_stub.metrics import Metrics
from api_stub.mongo import Document
from api_stub.store import Store, Written
from crypto_updates.bus import message, spans, trace
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
# Room for the longest id. The keys that a reason names may be longer.
MAX_REASON_CHARS = 4096
# A line of the log, or of the list of dead letters, shows at most this much of an id or a reason.
MAX_LINE_CHARS = 200
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
        self._down_since = 0.0
        self._problems: dict[int, str] = {}  # why each batch is not stored, while it is not
        self._unstored = 0

    @property
    def stored(self) -> int:
        """How many events it has stored."""
        return self._metrics.stored

    @property
    def problem(self) -> str | None:
        """Why events wait to be stored, while they do."""
        return next(iter(self._problems.values()), None)

    async def run(self) -> None:
        """Store until cancelled. Then store what has been received, for up to GRACE_SECONDS, and tell what is lost."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(1 if self._rate else BATCHES_AT_ONCE):
                    group.create_task(lifecycle.keep(self._store_on))
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
            with lifecycle.remembering_stop():
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
        with spans.processing(batch) as problems:
            problems.update(await self._settle(batch))

    async def _settle(self, batch: Sequence[Delivery]) -> list[tuple[Delivery, str]]:
        """Return what is no event, with the reason."""
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
                log.exception("[EVENT] Not understood (%s)", _where(delivery), extra=_traced(delivery))
                bad.append((delivery, f"body: {type(error).__name__}"))
        events = [doc for _, doc in good]
        written = await self._retried(self._store.add_events, events)
        bad += [(good[index][0], reason) for index, reason in written.rejected.items()]
        buried = await self._retried(self._store.add_dead_letters, [dead_letter(*letter) for letter in bad])
        for index, reason in buried.rejected.items():
            letter, line = bad[index][0], "[EVENT] Not acknowledged: dead_letters cannot take it: %s (%s)"
            log.error(line, reason, _where(letter), extra=_traced(letter))
        left = {id(bad[index][0]) for index in buried.rejected}
        for delivery in batch:
            if id(delivery) not in left:
                await delivery.ack()
        dead = len(bad) - len(buried.rejected) - len(buried.duplicates)
        self._metrics.count(batch, events, written, dead)
        _tell(good, written, [letter for letter in bad if id(letter[0]) not in left])
        return bad

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
                self._wait(id(documents), error)
                await asyncio.sleep(wait)
                wait = min(2 * wait, LONGEST_RETRY_SECONDS)
            else:
                self._go_on(id(documents))
                return written

    def _wait(self, batch: int, error: StoreUnavailableError) -> None:
        if not self._problems:
            self._down_since = time.monotonic()
            what = "MongoDB refuses the events" if isinstance(error, StoreRefusedError) else "MongoDB is unavailable"
            log.error("[MONGO] %s; events wait, retrying: %s", what, error)
        self._problems[batch] = str(error)

    def _go_on(self, batch: int) -> None:
        if self._problems.pop(batch, None) and not self._problems:
            log.warning("[MONGO] Storing again after %.0f s", time.monotonic() - self._down_since)


def document(delivery: Delivery, received: datetime) -> Document:
    """Return the event as `events` keeps it. Raises InvalidEventError."""
    given, event = message.read(delivery.headers, delivery.body)
    name = message.bounded(given) if given else delivery.place
    return stored(name, event, delivery.seq, received, trace.given(delivery.headers))


def stored(identity: str, event: Document, seq: int | None, received: datetime, traceparent: str | None) -> Document:
    """Return the event as `events` keeps it, from its parts. A traceparent in its body comes before that in the header.

    Each publication of one event may have a traceparent of its own.
    """
    traced = {trace.TRACEPARENT: traceparent} if traceparent and trace.TRACEPARENT not in event else {}
    return {"_id": identity, **event, **traced, "received_at": received, "stream_seq": seq}


def dead_letter(delivery: Delivery, reason: str) -> Document:
    """Return the message as `dead_letters` keeps it."""
    return {
        "_id": delivery.place,
        "raw": delivery.body[:MAX_RAW_BYTES],
        "headers": {name.replace("\0", "\ufffd"): value for name, value in delivery.headers.items()},
        "reason": reason[:MAX_REASON_CHARS],
        "stream_seq": delivery.seq,
        "received_at": datetime.now(UTC),
    }


def _tell(good: Sequence[tuple[Delivery, Document]], written: Written, bad: Sequence[tuple[Delivery, str]]) -> None:
    for delivery, reason in bad:
        line = "[EVENT] Invalid event format: %s (%s): moved to dead_letters"
        log.warning(line, brief(reason), _where(delivery), extra=_traced(delivery))
    if (stored := len(good) - len(written.rejected)) > LINES_PER_BATCH:
        log.info("[EVENT] Stored %d events; %d of them were already stored", stored, len(written.duplicates))
        return
    for index, (delivery, doc) in enumerate(good):
        if index in written.duplicates:
            log.info("[EVENT] Already stored: %s (%s)", brief(doc["_id"]), _where(delivery), extra=_traced(delivery))
        elif index not in written.rejected:
            log.info("[EVENT] Stored %s (%s)", brief(doc["_id"]), _where(delivery), extra=_traced(delivery))


def _traced(delivery: Delivery) -> dict[str, object]:
    return {trace.TRACEPARENT: trace.given(delivery.headers)}


def printable(text: str) -> str:
    """Return a publisher's text without characters that a terminal would obey."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def brief(text: str) -> str:
    """Return a publisher's text as it fits into a line of a log or a list."""
    return printable(text if len(text) <= MAX_LINE_CHARS else f"{text[:MAX_LINE_CHARS]}... ({len(text)} characters)")


def _core(batch: Sequence[Delivery]) -> int:
    return sum(delivery.seq is None for delivery in batch)


def _where(delivery: Delivery) -> str:
    return "core NATS" if delivery.seq is None else f"seq {delivery.seq}"
