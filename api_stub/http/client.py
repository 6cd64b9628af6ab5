import asyncio
import logging
from collections.abc import AsyncIterator

from api_stub.reader import encode
from api_stub.store import Document

log = logging.getLogger(__name__)

# A client that has more chunks waiting does not read.
WAITING_CHUNKS = 16
# A larger event is sent without its content.
MAX_EVENT_BYTES = 256 * 1024
KEPT_FIELDS = ("_id", "event", "timestamp", "source", "received_at", "stream_seq")

RECONNECT_AFTER_2_S = b"retry: 2000\n\n"
# A comment, which only shows that the connection lives.
NO_STATE = b": the state is not known\n\n"
SKIPPED = b"event: skipped\ndata: {}\n\n"


def event_message(event: Document) -> bytes:
    """The event. A very large one has only its id and times, with its size as `omitted`."""
    body = encode(event)
    if len(body) > MAX_EVENT_BYTES:
        kept = {key: event[key] for key in KEPT_FIELDS if key in event}
        body = encode(kept | {"omitted": len(body)})
    return b"data: %b\n\n" % body


def state_message(state: Document) -> bytes:
    return b"event: state\ndata: %b\n\n" % encode(state)


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
