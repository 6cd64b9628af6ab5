"""The event stream: each event as it is stored, to every client that listens, and the state as a heartbeat.

Storing has priority. All clients share one change stream of MongoDB and one encoding, in a few chunks a second.
Nothing is sent later: when the stream did not carry some events, clients are told `skipped` and read `/events`.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

from fastapi import HTTPException, Request

from api_stub.codec import encode
from api_stub.errors import StoreUnavailableError
from api_stub.http import note
from api_stub.http.gate import BODILESS
from api_stub.mongo import Document
from api_stub.reader import Inserts, Reader
from crypto_updates.service import lifecycle
from crypto_updates.service.problem import RETRY_AFTER

log = logging.getLogger(__name__)

# Behind Docker's gateway, one address can be all clients of a whole host.
MAX_CLIENTS, MAX_CLIENTS_OF_ADDRESS = 500, 250
CHUNK_SECONDS, HEARTBEAT_SECONDS = 0.25, 2.0
# MongoDB's batches have this size too, so that it reads no more than what is sent.
CHUNK_EVENTS = 25
# After so many full chunks in a row, more is stored than is sent.
FULL_CHUNKS = 8
OPEN_SECONDS, RETRY_SECONDS = 2.0, 1.0
# A client that has more chunks waiting does not read.
WAITING_CHUNKS = 16
# A larger event is sent without its content.
MAX_EVENT_BYTES = 256 * 1024
KEPT_FIELDS = ("_id", "event", "timestamp", "source", "received_at", "stream_seq")

RECONNECT_AFTER_2_S = b"retry: 2000\n\n"
# A comment, which only shows that the connection lives.
NO_STATE = b": the state is not known\n\n"
SKIPPED = b"event: skipped\ndata: {}\n\n"


class Client:
    """What waits for a client of the event stream."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ended = False
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_CHUNKS)

    def offer(self, chunk: bytes) -> None:
        """Queue the chunk, or end a client that does not read. Never wait: the others come next."""
        if self._ended:
            return
        try:
            self._chunks.put_nowait(chunk)
        except asyncio.QueueFull:
            log.info("[STREAM] %s does not read its event stream; closing it", self._address)
            self.end()

    def end(self) -> None:
        """Drop what waits, and send nothing more."""
        self._ended = True
        while not self._chunks.empty():
            self._chunks.get_nowait()
        self._chunks.put_nowait(None)

    async def messages(self) -> AsyncIterator[bytes]:
        while chunk := await self._chunks.get():
            yield chunk


class Live:
    """`state` gives what the heartbeat carries."""

    def __init__(self, reader: Reader, state: Callable[[], Awaitable[Document]]) -> None:
        self._reader = reader
        self._state = state
        self._clients: set[Client] = set()
        self._addresses: Counter[str] = Counter()
        self._wanted = asyncio.Event()
        self._open = asyncio.Event()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(lifecycle.keep(work), name="live") for work in (self._follow, self._beat, self._tell)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closed = True
        for client in self._clients:
            client.end()
        for task in self._tasks:
            await lifecycle.end(task)

    @property
    def clients(self) -> int:
        return self._addresses.total()

    @property
    def is_open(self) -> bool:
        """Whether what is stored reaches the clients. Without any, nothing is opened."""
        return self._open.is_set()

    async def client(self, request: Request) -> AsyncIterator[Client]:
        """A client that gets every event that is stored from now on, until its request ends."""
        address = request.client.host if request.client else ""
        client = Client(address)
        if BODILESS in request.scope:
            client.end()
            yield client
            return
        self._count_in(address)
        try:
            with contextlib.suppress(TimeoutError):  # without MongoDB, the client still gets the state
                async with asyncio.timeout(OPEN_SECONDS):
                    await self._open.wait()
            client.offer(RECONNECT_AFTER_2_S + await self._heartbeat() + note.message())
            self._clients.add(client)
            if self._closed:
                client.end()
            yield client
        finally:
            self._clients.discard(client)
            self._count_out(address)

    def _count_in(self, address: str) -> None:
        problem = None
        if self._closed or self.clients >= MAX_CLIENTS:
            problem = f"{MAX_CLIENTS} event streams are open, which is the limit"
        elif self._addresses[address] >= MAX_CLIENTS_OF_ADDRESS:
            problem = f"{MAX_CLIENTS_OF_ADDRESS} event streams are open from {address}, which is the limit"
        if problem:
            raise HTTPException(429, problem, RETRY_AFTER)
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

    async def _tell(self) -> None:
        """Send the demo's note as soon as it changes."""
        told = b""
        while True:
            await self._wanted.wait()
            if (message := note.message()) and message != told:
                self._send(message)
                told = message
            await asyncio.sleep(CHUNK_SECONDS)

    async def _heartbeat(self) -> bytes:
        try:
            return b"event: state\ndata: %b\n\n" % encode(await self._state())
        except Exception:
            log.exception("[STREAM] Cannot tell the state")
            return NO_STATE

    async def _follow(self) -> None:
        """Keep the change stream open while somebody listens."""
        warned = False
        while True:
            await self._wanted.wait()
            try:
                async with self._reader.inserts(CHUNK_EVENTS) as inserts:
                    warned = False
                    await self._pass_on(inserts)
            except StoreUnavailableError as error:
                if not warned:
                    log.warning("[STREAM] Cannot follow MongoDB's change stream; retrying: %s", error)
                warned = True
                await asyncio.sleep(RETRY_SECONDS)
            except Exception:
                log.exception("[STREAM] Cannot follow MongoDB's change stream; retrying")
                await asyncio.sleep(RETRY_SECONDS)

    async def _pass_on(self, inserts: Inserts) -> None:
        """Send what is stored, until nobody listens or the stream has fallen behind."""
        self._send(SKIPPED)  # to the clients that joined before the change stream was open
        self._open.set()
        try:
            full = 0
            while self._wanted.is_set() and full < FULL_CHUNKS:
                begin = time.monotonic()
                messages = await _chunk(inserts)
                if messages:
                    self._send(b"".join(messages))
                    await asyncio.sleep(begin + CHUNK_SECONDS - time.monotonic())
                full = full + 1 if len(messages) == CHUNK_EVENTS else 0
        finally:
            # A client that joins while the change stream is being closed waits for the next one.
            self._open.clear()


async def _chunk(inserts: Inserts) -> list[bytes]:
    """The messages of the events that come until the next chunk is due. Raises StoreUnavailableError."""
    messages: list[bytes] = []
    end = time.monotonic() + CHUNK_SECONDS
    while len(messages) < CHUNK_EVENTS and time.monotonic() < end and (insert := await inserts.try_next()):
        messages.append(_message(insert["fullDocument"]))
    if not inserts.alive:  # and `try_next` would return None at once, for ever
        raise StoreUnavailableError(
            "MongoDB: the change stream has ended: the collection events was dropped or renamed"
        )
    return messages


def _message(event: Document) -> bytes:
    """The event. A very large one has only its id and times, with its size as `omitted`."""
    body = encode(event)
    if len(body) > MAX_EVENT_BYTES:
        kept = {key: event[key] for key in KEPT_FIELDS if key in event}
        body = encode(kept | {"omitted": len(body)})
    return b"data: %b\n\n" % body
