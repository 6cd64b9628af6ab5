"""A client of the live stream: what waits for it, what it has missed, and its connection."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Container, Sequence
from typing import NamedTuple, Protocol, Self

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api_stub.errors import HistoryLostError, StoreUnavailableError
from api_stub.http.changes import Change, Changes
from api_stub.reader import encode

log = logging.getLogger(__name__)

# Chunks that wait for a client; one that has more waiting does not read.
WAITING = 16
# Bytes of an event that is told whole.
LARGEST = 256 * 1024
KNOWN = ("_id", "event", "timestamp", "source", "received_at", "stream_seq")
# Events that a client which comes back may ask for.
REPLAY = 1000
# Seconds that a new client waits for the change stream to be open.
READY = 2.0

HELLO = b"retry: 2000\n\n"
SKIPPED = b"event: skipped\ndata: {}\n\n"


class Chunk(NamedTuple):
    """Messages, with the ids of their events, and all of them as one."""

    ids: tuple[str, ...]
    messages: tuple[bytes, ...]
    whole: bytes

    @classmethod
    def of(cls, changes: Sequence[Change]) -> Self:
        messages = tuple(map(_message, changes))
        return cls(tuple(change.event["_id"] for change in changes), messages, b"".join(messages))

    def without(self, ids: Container[str]) -> bytes:
        if not any(name in ids for name in self.ids):
            return self.whole
        return b"".join(message for name, message in zip(self.ids, self.messages, strict=True) if name not in ids)


class Hub(Protocol):
    """What a client needs of the stream that it listens to. `ready`: its change stream is open."""

    ready: asyncio.Event
    replays: asyncio.Semaphore

    def leave(self, client: Client) -> None: ...


class Client:
    """One that listens, until it leaves. `ended` is True for one that does not read, and when the service ends."""

    def __init__(self, live: Hub, changes: Changes, address: str) -> None:
        self.address = address
        self.ended = False
        self._live = live
        self._changes = changes
        self._chunks: asyncio.Queue[Chunk | None] = asyncio.Queue(WAITING)

    def offer(self, chunk: Chunk) -> None:
        if self.ended:
            return
        try:
            self._chunks.put_nowait(chunk)
        except asyncio.QueueFull:
            log.info("[STREAM] %s does not read, and is dropped", self.address)
            self.end()

    def end(self) -> None:
        self.ended = True
        while not self._chunks.empty():
            self._chunks.get_nowait()
        self._chunks.put_nowait(None)

    def leave(self) -> None:
        self._live.leave(self)

    async def messages(self, last_id: str | None) -> AsyncIterator[bytes]:
        """What is to be sent; with the id of an event, first what was stored after that one."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READY):
                await self._live.ready.wait()
        yield HELLO
        seen: set[str] = set()
        if last_id:
            async for message in self._replay(last_id, seen):
                yield message
        while chunk := await self._chunks.get():
            yield chunk.without(seen)

    async def _replay(self, last_id: str, seen: set[str]) -> AsyncIterator[bytes]:
        with contextlib.suppress(HistoryLostError, StoreUnavailableError):
            async with self._live.replays, self._changes.opened(last_id) as stream:
                for _ in range(REPLAY):
                    change = await stream.next()
                    if change is None:
                        return
                    seen.add(change.event["_id"])
                    yield _message(change)
        yield SKIPPED


class EventStream(StreamingResponse):
    """The client leaves with its connection, however that ends."""

    def __init__(self, client: Client, last_id: str | None) -> None:
        # A proxy that collects answers would hold events back.
        super().__init__(client.messages(last_id), headers={"X-Accel-Buffering": "no"}, media_type="text/event-stream")
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._client.leave()


def _message(change: Change) -> bytes:
    """The event; of a very large one, only what identifies it, and how many bytes were `omitted`."""
    body = encode(change.event)
    if len(body) > LARGEST:
        known = {key: change.event[key] for key in KNOWN if key in change.event}
        body = encode(known | {"omitted": len(body)})
    return b"id: %b\ndata: %b\n\n" % (change.token.encode(), body)
