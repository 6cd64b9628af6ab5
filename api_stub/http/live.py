"""The event stream: each event as it is stored, to every client that listens, and the state as a heartbeat.

Storing has priority. All clients share one change stream of MongoDB and one encoding, in a few chunks a second.
Nothing is sent later: when the stream did not carry some events, clients are told `skipped` and read `/events`.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from api_stub.errors import FullError, StoreUnavailableError
from api_stub.http.client import NO_STATE, SKIPPED, Client, event_message, state_message
from api_stub.store import Events, available
from crypto_updates.service import lifecycle

log = logging.getLogger(__name__)

# Behind Docker's gateway, one address can be all clients of a whole host.
MAX_CLIENTS, MAX_CLIENTS_OF_ADDRESS = 500, 250
CHUNK_SECONDS, HEARTBEAT_SECONDS = 0.25, 2.0
# The size of MongoDB's batches too, so that a flood costs it no more than what is taken.
CHUNK_EVENTS = 25
# So many full chunks one after the other mean that more is stored than is sent.
FULL_CHUNKS = 8
# How long MongoDB waits for an event before it answers that there is none.
AWAIT_MS = 100
OPEN_SECONDS, CLOSE_SECONDS, RETRY_SECONDS = 2.0, 1.0, 1.0
INSERTS: list[dict[str, Any]] = [{"$match": {"operationType": "insert"}}, {"$project": {"fullDocument": 1}}]

# Gives the next insert into `events`, or None if there is none within AWAIT_MS.
NextInsert = Callable[[], Awaitable[Mapping[str, Any] | None]]


class Live:
    """`state` gives the JSON that the heartbeat carries."""

    def __init__(self, events: Events, state: Callable[[], Awaitable[bytes]]) -> None:
        self._events = events
        self._state = state
        self._clients: set[Client] = set()
        self._addresses: Counter[str] = Counter()
        self._wanted = asyncio.Event()
        self._open = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(work(), name="live") for work in (self._follow, self._beat)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for client in self._clients:
            client.end()
        for task in self._tasks:
            await lifecycle.end(task)

    @property
    def clients(self) -> int:
        return self._addresses.total()

    @contextlib.asynccontextmanager
    async def client(self, address: str) -> AsyncIterator[Client]:
        """A client that gets every event that is stored from now on, until the context ends. Raises FullError."""
        self._count_in(address)
        client = Client(address, self._heartbeat)
        try:
            with contextlib.suppress(TimeoutError):  # without MongoDB, there is still the state to be told
                async with asyncio.timeout(OPEN_SECONDS):
                    await self._open.wait()
            self._clients.add(client)
            if self._closed:
                client.end()
            yield client
        finally:
            self._clients.discard(client)
            self._count_out(address)

    def _count_in(self, address: str) -> None:
        if self._closed or self.clients >= MAX_CLIENTS:
            raise FullError(f"{MAX_CLIENTS} event streams are open, which is the limit")
        if self._addresses[address] >= MAX_CLIENTS_OF_ADDRESS:
            raise FullError(f"{MAX_CLIENTS_OF_ADDRESS} event streams are open from {address}, which is the limit")
        self._addresses[address] += 1
        self._wanted.set()

    def _count_out(self, address: str) -> None:
        self._addresses -= Counter([address])  # forgets an address at 0
        if not self._addresses:
            self._wanted.clear()

    def _send(self, chunk: bytes) -> None:
        for client in self._clients:
            client.offer(chunk)

    async def _beat(self) -> None:
        while True:
            await self._wanted.wait()
            self._send(await self._heartbeat())
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def _heartbeat(self) -> bytes:
        try:
            return state_message(await self._state())
        except Exception:
            log.exception("[STREAM] Cannot tell the state")
            return NO_STATE

    async def _follow(self) -> None:
        """Keep the change stream open while somebody listens."""
        warned = False
        while True:
            await self._wanted.wait()
            try:
                async with _inserts(self._events) as next_insert:
                    warned = False
                    await self._pass_on(next_insert)
            except StoreUnavailableError as error:
                if not warned:
                    log.warning("[STREAM] Cannot follow MongoDB's change stream; retrying: %s", error)
                warned = True
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("[STREAM] Cannot follow MongoDB's change stream; retrying")
                await asyncio.sleep(RETRY_SECONDS)

    async def _pass_on(self, next_insert: NextInsert) -> None:
        """Send what is stored, until nobody listens or the stream has fallen behind."""
        self._send(SKIPPED)  # to those who listened before the change stream was open
        self._open.set()
        try:
            full = 0
            while self._wanted.is_set() and full < FULL_CHUNKS:
                begin = time.monotonic()
                messages = await _chunk(next_insert)
                if messages:
                    self._send(b"".join(messages))
                    await asyncio.sleep(begin + CHUNK_SECONDS - time.monotonic())
                full = full + 1 if len(messages) == CHUNK_EVENTS else 0
        finally:
            # Who joins while the change stream is being closed waits for the next one.
            self._open.clear()


@contextlib.asynccontextmanager
async def _inserts(events: Events) -> AsyncIterator[NextInsert]:
    """MongoDB's change stream of what any API stub stores from now on. Raises StoreUnavailableError."""
    with available():
        stream = await events.watch(INSERTS, batch_size=CHUNK_EVENTS, max_await_time_ms=AWAIT_MS)
        try:
            yield stream.try_next
        finally:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await stream.close()


async def _chunk(next_insert: NextInsert) -> list[bytes]:
    """The messages of the events that come until the next chunk is due."""
    messages: list[bytes] = []
    end = time.monotonic() + CHUNK_SECONDS
    while len(messages) < CHUNK_EVENTS and time.monotonic() < end and (insert := await next_insert()):
        messages.append(event_message(insert["fullDocument"]))
    return messages
