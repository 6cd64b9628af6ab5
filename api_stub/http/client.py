"""A client of the event stream: what waits for it, and the HTTP answer that it reads."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api_stub.reader import encode
from api_stub.store import Document

log = logging.getLogger(__name__)

# A client that has more chunks waiting does not read.
WAITING_CHUNKS = 16
# A larger event is sent without its content.
MAX_EVENT_BYTES = 256 * 1024
KEPT_FIELDS = ("_id", "event", "timestamp", "source", "received_at", "stream_seq")

RECONNECT_AFTER_2_S = b"retry: 2000\n\n"
# A comment: it shows at least that the connection lives.
NO_STATE = b": the state is not known\n\n"
SKIPPED = b"event: skipped\ndata: {}\n\n"


def event_message(event: Document) -> bytes:
    """The event. A very large one is told by its id and times, with its size as `omitted`."""
    body = encode(event)
    if len(body) > MAX_EVENT_BYTES:
        kept = {key: event[key] for key in KEPT_FIELDS if key in event}
        body = encode(kept | {"omitted": len(body)})
    return b"data: %b\n\n" % body


def state_message(state: bytes) -> bytes:
    return b"event: state\ndata: %b\n\n" % state


class Client:
    """`heartbeat` gives the state as a message, which is the first that a client gets."""

    def __init__(self, address: str, heartbeat: Callable[[], Awaitable[bytes]]) -> None:
        self.address = address
        self._heartbeat = heartbeat
        self._ended = False
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(WAITING_CHUNKS)

    def offer(self, chunk: bytes) -> None:
        """Queue the chunk, or end a client that does not read. Never wait: the others come next."""
        if self._ended:
            return
        try:
            self._chunks.put_nowait(chunk)
        except asyncio.QueueFull:
            log.info("[STREAM] %s does not read its event stream; closing it", self.address)
            self.end()

    def end(self) -> None:
        """Drop what waits, and send nothing more."""
        self._ended = True
        while not self._chunks.empty():
            self._chunks.get_nowait()
        self._chunks.put_nowait(None)

    async def messages(self) -> AsyncIterator[bytes]:
        yield RECONNECT_AFTER_2_S
        yield await self._heartbeat()
        while chunk := await self._chunks.get():
            yield chunk


class EventStream(StreamingResponse):
    """The client joins before the first byte, and leaves with its connection, however that ends."""

    def __init__(self, joined: AbstractAsyncContextManager[Client]) -> None:
        # A proxy that buffers would hold events back.
        super().__init__((), headers={"X-Accel-Buffering": "no"}, media_type="text/event-stream")
        self._joined = joined

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._joined as client:
            self.body_iterator = client.messages()
            await super().__call__(scope, receive, send)
