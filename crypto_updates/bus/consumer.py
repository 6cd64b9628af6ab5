import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import APIError, NotFoundError

from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.delivery import Delivery
from crypto_updates.bus.event import SUBJECT
from crypto_updates.bus.rights import ACKS
from crypto_updates.bus.stream import DURABLE, PROBE, STREAM, ensure_consumer
from crypto_updates.service import errors, lifecycle

log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
PULL_EXPIRES_SECONDS = 30
# Bounds the memory, and what MongoDB has to write before its deadline, even if the events are large.
PULL_BYTES = 16 * 1024**2
HEARTBEAT_SECONDS = 2
# Without an event or a heartbeat for so long, the pull requests are lost.
SILENCE_SECONDS = 5.0
# Where no server answers a pull request, it is not the server: a right is missing, or the consumer. So it goes to
# another server only once in so long.
LEAVE_AGAIN_SECONDS = 60.0
# Core NATS sends whatever is published, also while MongoDB is down. What does not fit is dropped.
CORE_EVENTS, CORE_BYTES = 20_000, 2 * PULL_BYTES
RETRY_SECONDS = 1.0
CHECK_EVERY_SECONDS = 1.0
DRAIN_SECONDS = 1.0
# What a status message says of a pull request: it waits for events, or it ended and so many events did not come.
IDLE, UNDELIVERED = "100", "Nats-Pending-Messages"
# The server ended the pull request, for example because another one leads the consumer now.
ENDED = "409"
NEXT = f"CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"


class Consumer:
    """Batches of events, from the stream's durable consumer or from a core NATS queue group.

    It asks JetStream for two batches: one to be taken next, one on its way. A standing pull request with a callback
    takes about a third of the time of nats-py's `fetch()`.
    """

    def __init__(self, bus: Bus, batch: int, count_dropped: Callable[[], None] = lambda: None) -> None:
        """`count_dropped` is called for each event of core NATS for which there is no room."""
        self._bus = bus
        self._batch = batch
        self._count_dropped = count_dropped
        self._buffer: deque[Delivery] = deque()
        self._core_bytes = 0
        self._dropped = 0
        self._arrived = asyncio.Event()
        self._subscriptions: list[Subscription] = []
        self._asked = 0
        self._heard = 0.0
        self._stay_until = 0.0
        self._is_ended = False  # the last that was heard is that the server ended a pull request
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(lifecycle.keep(self._feed), name="consumer")
        return self

    async def __aexit__(self, *_: object) -> None:
        await lifecycle.end(self._task)

    async def stop(self) -> None:
        """Receive no more. What the server has sent until now can still be taken."""
        drains = (subscription.drain() for subscription in self._subscriptions)  # type: ignore[no-untyped-call]
        with contextlib.suppress(*LINK_ERRORS):
            # In a task that is being cancelled, `asyncio.timeout` of early Python 3.11 raises CancelledError.
            await asyncio.wait_for(asyncio.gather(*drains), DRAIN_SECONDS)
        await lifecycle.end(self._task)
        self._tell_dropped()

    async def take(self) -> list[Delivery]:
        """Wait for at least one delivery; return at most `batch`."""
        while not self._buffer:
            self._arrived.clear()
            await self._arrived.wait()
        return self.rest(self._batch)

    def rest(self, most: int) -> list[Delivery]:
        """Return at most `most` of the deliveries that are in the buffer, without waiting."""
        self._changed.set()
        taken = [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]
        if self._core_bytes:
            self._core_bytes -= sum(delivery.size for delivery in taken if delivery.seq is None)
        return taken

    async def _feed(self) -> None:
        while True:
            connection = await self._bus.connection()
            self._bus.refusal = None
            try:
                await (self._pull(connection) if connection.js else self._listen(connection))
            except LINK_ERRORS as error:
                log.warning("[NATS] Consumer interrupted: %s", errors.text(error))
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("[NATS] Consumer interrupted")
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self, connection: Connection) -> None:
        self._subscriptions = [
            await connection.nc.subscribe(subject, queue=DURABLE, cb=self._receive_core) for subject in (SUBJECT, PROBE)
        ]
        await connection.lost.wait()

    async def _receive_core(self, message: Msg) -> None:
        delivery = Delivery(message, None, 1)
        if self._buffer and not self._has_room(delivery.size):
            self._drop()
            return
        self._tell_dropped()
        self._buffer.append(delivery)
        self._core_bytes += delivery.size
        self._arrived.set()

    def _has_room(self, size: int) -> bool:
        # Once full, the buffer has room when half of it is free. So an outage is told once.
        share = 2 if self._dropped else 1
        return len(self._buffer) < CORE_EVENTS // share and self._core_bytes + size <= CORE_BYTES // share

    def _drop(self) -> None:
        if not self._dropped:
            log.warning(
                "[NATS] %d events wait to be stored and there is no room for more: dropping what core NATS delivers"
                " (verify that MongoDB is running, and MAX_EVENTS_PER_SECOND; JetStream would keep the events)",
                len(self._buffer),
            )
        self._dropped += 1
        self._count_dropped()

    def _tell_dropped(self) -> None:
        if self._dropped:
            log.warning("[NATS] %d events of core NATS were dropped while there was no room", self._dropped)
            self._dropped = 0

    async def _pull(self, connection: Connection) -> None:
        """Keep pull requests standing until the connection is lost."""
        inbox = connection.nc.new_inbox()
        subscription = await connection.nc.subscribe(inbox, cb=self._receive)
        self._subscriptions = [subscription]
        try:
            while not connection.lost.is_set():
                if time.monotonic() - self._heard > SILENCE_SECONDS:
                    if self._is_cut_off() and self._bus.leave(connection, "a pull request was not answered"):
                        self._stay_until = time.monotonic() + LEAVE_AGAIN_SECONDS
                        break
                    await self._restart(connection)
                while 2 * self._batch - len(self._buffer) - self._asked >= self._batch:
                    await self._ask(connection, inbox)
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), CHECK_EVERY_SECONDS)
                self._bus.refusal = connection.refusal([connection.api(NEXT), ACKS])
        finally:
            with contextlib.suppress(*LINK_ERRORS):
                await subscription.unsubscribe()
            self._heard, self._asked = 0.0, 0

    def _is_cut_off(self) -> bool:
        """Of a silent server: whether it may lack its cluster. Such a server answers pings, and has no events."""
        owes_answer = self._asked > 0 and not self._is_ended and not self._bus.refusal
        return owes_answer and time.monotonic() >= self._stay_until

    async def _restart(self, connection: Connection) -> None:
        """Forget the lost pull requests, and make the consumer if it is missing."""
        try:
            created = await connection.unless_lost(ensure_consumer(connection.js)) if connection.js else False
            if created:
                log.info("[NATS] Consumer %s created on stream %s", DURABLE, STREAM)
        except NotFoundError:
            connection.abandon("the stream is gone")  # the next connection makes it
        except APIError as error:
            self._bus.tell(f"[NATS] No consumer {DURABLE}: {connection.jetstream_error(error)}; retrying")
        except nats.errors.TimeoutError:
            # A user without the right to ask gets no reply. Then the provisioner makes the consumer.
            log.debug("[NATS] consumer info of %s: no reply", DURABLE)
        self._asked, self._is_ended = 0, False
        self._heard = time.monotonic()

    async def _ask(self, connection: Connection, inbox: str) -> None:
        request = {
            "batch": self._batch,
            "max_bytes": PULL_BYTES,
            "expires": PULL_EXPIRES_SECONDS * NANOSECONDS,
            "idle_heartbeat": HEARTBEAT_SECONDS * NANOSECONDS,
        }
        await connection.nc.publish(connection.api(NEXT), json.dumps(request).encode(), reply=inbox)
        self._asked += self._batch

    async def _receive(self, message: Msg) -> None:
        if message.reply:  # a delivery, whatever its subject; a status has nobody to be acknowledged to
            self._asked -= 1
            self._buffer.append(Delivery.of(message))
            self._arrived.set()
            self._hear()
            return
        headers = message.headers or {}
        if headers.get("Status") == IDLE or UNDELIVERED in headers:
            self._asked -= 0 if headers.get("Status") == IDLE else int(headers[UNDELIVERED])
            self._hear()
            self._changed.set()
        else:
            # Refused: no such consumer, no such stream, or too many waiting. Silence follows, and then a restart.
            self._is_ended = headers.get("Status") == ENDED
            log.debug("[NATS] Pull request ended: %s", headers)

    def _hear(self) -> None:
        self._heard, self._stay_until, self._is_ended = time.monotonic(), 0.0, False
