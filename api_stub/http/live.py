"""The live stream: each event, as it is stored, to every client that listens, and the state as the heartbeat.

Storing has priority. One cursor and one encoding serve all clients, in a few chunks a second; of what is more, as of a
backlog that is being stored, the clients are told that they have skipped it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from api_stub.errors import FullError, HistoryLostError, StoreUnavailableError
from api_stub.http.changes import BATCH, Change, Changes, Stream
from api_stub.http.client import SKIPPED, Chunk, Client
from crypto_updates.service import lifecycle

log = logging.getLogger(__name__)

# Clients in all, and from one address, which can be a whole host's behind Docker's gateway.
CLIENTS, FROM_ADDRESS = 500, 250
# Seconds between two chunks, and between two heartbeats; how many full chunks may follow on each other.
PAUSE, BEAT, FULL_CHUNKS = 0.25, 2.0, 8
# So many clients at once are told what they have missed.
REPLAYS = 4
# Seconds between attempts to reach MongoDB.
RETRY = 1.0


class Live:
    """`state` gives the JSON that the heartbeat carries."""

    def __init__(self, changes: Changes, state: Callable[[], Awaitable[bytes]]) -> None:
        self._changes = changes
        self._state = state
        self._clients: set[Client] = set()
        self._addresses: Counter[str] = Counter()
        self._wanted = asyncio.Event()
        self.ready = asyncio.Event()
        self.replays = asyncio.Semaphore(REPLAYS)
        self._after: str | None = None
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
        return len(self._clients)

    def admit(self, address: str) -> Client:
        """Raises FullError."""
        if self._closed or len(self._clients) >= CLIENTS:
            raise FullError(f"{CLIENTS} event streams are open, and no more may be")
        if self._addresses[address] >= FROM_ADDRESS:
            raise FullError(f"{FROM_ADDRESS} event streams are open from {address}, and no more may be")
        client = Client(self, self._changes, address)
        self._clients.add(client)
        self._addresses[address] += 1
        self._wanted.set()
        return client

    def leave(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
            self._addresses[client.address] -= 1
            self._addresses += Counter()  # forgets those that are at 0
        if not self._clients:
            self._wanted.clear()

    def _send(self, chunk: Chunk) -> None:
        for client in self._clients:
            client.offer(chunk)

    async def _beat(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                self._send(Chunk((), (), b"event: state\ndata: " + await self._state() + b"\n\n"))
            except Exception:
                log.exception("[STREAM] No state")
            await asyncio.sleep(BEAT)

    async def _follow(self) -> None:
        """Keep the change stream open while somebody listens."""
        told = False
        while True:
            await self._wanted.wait()
            try:
                async with self._changes.opened(self._after) as stream:
                    told = False
                    self.ready.set()
                    await self._pass_on(stream)
            except HistoryLostError:
                self._skip()
            except StoreUnavailableError as error:
                if not told:
                    log.warning("[STREAM] Interrupted; trying again: %s", error)
                told = True
                await asyncio.sleep(RETRY)
            except Exception:
                log.exception("[STREAM] Interrupted; trying again")
                await asyncio.sleep(RETRY)
            finally:
                self.ready.clear()

    async def _pass_on(self, stream: Stream) -> None:
        """Return when nobody listens any more, or when the stream has fallen behind."""
        full = 0
        while self._wanted.is_set() and full < FULL_CHUNKS:
            begin = time.monotonic()
            changes = await _batch(stream)
            self._after = stream.token
            if changes:
                self._send(Chunk.of(changes))
                await asyncio.sleep(begin + PAUSE - time.monotonic())
            full = full + 1 if len(changes) == BATCH else 0
        # Who comes while the cursor is being closed waits for the next one.
        self.ready.clear()
        self._after = None
        if full:
            self._skip()

    def _skip(self) -> None:
        self._after = None
        self._send(Chunk((), (), SKIPPED))


async def _batch(stream: Stream) -> list[Change]:
    """What comes until the next chunk is due."""
    changes: list[Change] = []
    begin = time.monotonic()
    while len(changes) < BATCH and time.monotonic() - begin < PAUSE and (change := await stream.next()):
        changes.append(change)
    return changes
