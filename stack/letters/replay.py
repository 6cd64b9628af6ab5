import contextlib

from api_stub.errors import BadDocumentError
from api_stub.mongo import Document
from api_stub.store import Store
from api_stub.subscriber import stored
from crypto_updates.bus import message, trace
from crypto_updates.bus.errors import InvalidEventError


def identity(letter: Document, body: bytes | None = None) -> str:
    """The id that the subscriber would have given the event: the publisher's, or else the letter's own."""
    given = None
    with contextlib.suppress(InvalidEventError):
        given = message.identity(letter["headers"])
        given = message.read(letter["headers"], letter["raw"] if body is None else body).identity
    return given or str(letter["_id"])


async def replay(store: Store, letter: Document, body: bytes | None = None, *, own_id: bool = False) -> bool:
    """Store the letter's event, then remove the letter. Return False if `events` had the event already.

    The event is not published again, because the stream would drop it as a duplicate. If a replay is killed between
    the two steps, the next replay finds the event stored and removes the letter.

    `body` replaces the letter's own. With `own_id` the event gets the letter's id, for a publisher's id that is taken
    or too long. Raises StoreUnavailableError; and InvalidEventError or BadDocumentError, which keep the letter.
    """
    given, content = message.read(letter["headers"], letter["raw"] if body is None else body)
    name = message.bounded(given) if given and not own_id else letter["_id"]
    traceparent = trace.given(letter["headers"])
    event = stored(name, content, letter["stream_seq"], letter["received_at"], traceparent)
    written = await store.add_events([event])
    if written.rejected:
        raise BadDocumentError(written.rejected[0])
    if written.duplicates and not await store.holds(event):
        raise BadDocumentError(f"another event is stored as {name}")
    await store.remove_dead_letter(letter["_id"])
    return not written.duplicates
