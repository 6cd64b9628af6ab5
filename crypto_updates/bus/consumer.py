"""Batches of events: from the stream's durable consumer, or from a core NATS queue group.

A standing pull request with a subscription callback takes about a third of the time of nats-py's `fetch()`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import NotJSMessageError
from nats.js.errors import NotFoundError

from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.event import MSG_ID, SUBJECT
from crypto_updates.bus.stream import DURABLE, STREAM, ensure_consumer
from crypto_updates.service import errors, lifecycle

log = logging.getLogger(__name__)

NANOSECONDS = 1_000_000_000
PULL_EXPIRES = 30
# Bounds the memory, and what MongoDB has to take within its deadline, however large the events are.
PULL_BYTES = 16 * 1024 * 1024
HEARTBEAT = 2
# The server sends a heartbeat in silence; after this many seconds without one, the pull request is taken for lost.
SILENCE = 5.0
# What the server says of a pull request: it stands and nothing is new; or it ended, with so many not delivered.
IDLE, UNDELIVERED = "100", "Nats-Pending-Messages"
# How the reply of a delivery begins, and how many tokens its two forms have.
ACK, SHORT, LONG = "$JS.ACK.", 9, 11
NEXT = f"CONSUMER.MSG.NEXT.{STREAM}.{DURABLE}"


@dataclass(slots=True, eq=False)
class Delivery:
    """A message as it came. `seq` is its stream sequence, None with core NATS; `times` it was delivered until now.

    A drain makes one for each event, so that it reads of the reply only what every event needs: all of nats-py's
    `metadata`, for each, was a ninth of the API stub's time.
    """

    message: Msg = field(repr=False)
    seq: int | None
    times: int

    @classmethod
    def of(cls, message: Msg) -> Self:
        tokens = message.reply.split(".")
        # $JS.ACK, in the longer form domain and account, then stream, consumer, times, seq and more (NATS ADR-15).
        at = 4 if len(tokens) == SHORT else 6 if len(tokens) >= LONG else None
        if at and message.reply.startswith(ACK) and tokens[at].isdecimal() and tokens[at + 1].isdecimal():
            return cls(message, int(tokens[at + 1]), int(tokens[at]))
        return cls(message, None, 1)

    @property
    def body(self) -> bytes:
        return self.message.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self.message.headers or {}

    @property
    def identity(self) -> str:
        """The publisher's id, or the one that the message's place in the stream gives it."""
        return self.headers.get(MSG_ID) or self.place

    @property
    def place(self) -> str:
        """Names this very message: a stream that was made anew counts from 1 again, but not at the same time."""
        try:
            return f"{STREAM}#{self.seq}@{self.message.metadata.timestamp.isoformat()}"
        except (NotJSMessageError, ValueError, OverflowError):
            return f"core@{datetime.now(UTC).isoformat()}#{uuid.uuid4().hex}"

    async def ack(self) -> None:
        """Not confirmed: an acknowledgement that gets lost means one more delivery, and a duplicate key in MongoDB."""
        if self.seq is None:
            return
        try:
            await self.message.ack()
        except LINK_ERRORS as error:
            log.debug("[NATS] Not acknowledged: %s", error)


class Consumer:
    """Asks the server for as much as there is room for: `batch` to be taken next and `batch` on its way."""

    def __init__(self, bus: Bus, batch: int) -> None:
        self._bus = bus
        self._batch = batch
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._subscription: Subscription | None = None
        self._asked = 0
        self._heard = 0.0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._feed(), name="consumer")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await lifecycle.end(self._task)

    async def stop(self) -> None:
        """Take no more from the server; what it has sent until now can still be taken."""
        with contextlib.suppress(*LINK_ERRORS):
            async with asyncio.timeout(1):
                if self._subscription:
                    await self._subscription.drain()  # type: ignore[no-untyped-call]
        await lifecycle.end(self._task)

    async def take(self) -> list[Delivery]:
        """At least one delivery, waited for, and at most `batch`."""
        while not self._buffer:
            self._arrived.clear()
            await self._arrived.wait()
        return self.rest(self._batch)

    def rest(self, most: int) -> list[Delivery]:
        """What is there already, at most so many."""
        self._changed.set()
        return [self._buffer.popleft() for _ in range(min(most, len(self._buffer)))]

    async def _feed(self) -> None:
        while True:
            connection = await self._bus.connection()
            try:
                await (self._pull(connection) if connection.js else self._listen(connection))
            except LINK_ERRORS as error:
                log.warning("[NATS] Consumer interrupted: %s", errors.text(error))
                await asyncio.sleep(1)
            except Exception:
                log.exception("[NATS] Consumer interrupted")
                await asyncio.sleep(1)

    async def _listen(self, connection: Connection) -> None:
        self._subscription = await connection.nc.subscribe(SUBJECT, queue=DURABLE, cb=self._receive)
        await connection.lost.wait()

    async def _pull(self, connection: Connection) -> None:
        """Keep pull requests standing until the connection is lost."""
        inbox = connection.nc.new_inbox()
        self._subscription = await connection.nc.subscribe(inbox, cb=self._receive)
        try:
            while not connection.lost.is_set():
                if time.monotonic() - self._heard > SILENCE:
                    await self._restart(connection)
                while 2 * self._batch - len(self._buffer) - self._asked >= self._batch:
                    await self._ask(connection, inbox)
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 1)
        finally:
            self._heard = 0.0
            with contextlib.suppress(*LINK_ERRORS):
                await self._subscription.unsubscribe()

    async def _restart(self, connection: Connection) -> None:
        """No pull request stands any more: see that there is a consumer, so that the next ones reach it."""
        try:
            created = await connection.unless_lost(ensure_consumer(connection.js)) if connection.js else False
            if created:
                log.info("[NATS] Consumer %s created on stream %s", DURABLE, STREAM)
        except NotFoundError:
            connection.abandon("the stream is gone")  # the next one sees to it that there is one
        except nats.errors.TimeoutError:
            # A user without the right to ask gets no answer; then the consumer is the provisioner's affair.
            log.debug("[NATS] consumer info of %s: no answer", DURABLE)
        self._asked = 0
        self._heard = time.monotonic()

    async def _ask(self, connection: Connection, inbox: str) -> None:
        request = {
            "batch": self._batch,
            "max_bytes": PULL_BYTES,
            "expires": PULL_EXPIRES * NANOSECONDS,
            "idle_heartbeat": HEARTBEAT * NANOSECONDS,
        }
        await connection.nc.publish(connection.api(NEXT), json.dumps(request).encode(), reply=inbox)
        self._asked += self._batch

    async def _receive(self, message: Msg) -> None:
        if message.subject == SUBJECT:
            self._asked -= 1
            self._buffer.append(Delivery.of(message))
            self._arrived.set()
            self._heard = time.monotonic()
            return
        headers = message.headers or {}
        if headers.get("Status") == IDLE or UNDELIVERED in headers:
            self._asked -= 0 if headers.get("Status") == IDLE else int(headers[UNDELIVERED])
            self._heard = time.monotonic()
            self._changed.set()
        else:
            # Refused: no such consumer, no such stream, too many waiting. The silence that follows leads to a restart.
            log.debug("[NATS] Pull request ended: %s", headers)
