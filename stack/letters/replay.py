from api_stub.errors import BadDocumentError, TakenError
from api_stub.store import Document, Store
from api_stub.subscriber import stored
from crypto_updates.bus.event import MSG_ID


def identity(letter: Document) -> str:
    """The id that the subscriber would have given the event: the publisher's, or else the letter's own."""
    given: str = letter["headers"].get(MSG_ID) or letter["_id"]
    return given


async def replay(store: Store, letter: Document, body: bytes | None = None) -> bool:
    """Store the letter's event, then remove the letter. Return False if `events` had the event already.

    The event is not published again, because the stream would drop it as a duplicate. If a replay is killed between
    the two steps, the next replay finds the event stored and removes the letter.

    `body` replaces the letter's own. Raises StoreUnavailableError; and InvalidEventError, BadDocumentError or
    TakenError, which keep the letter.
    """
    raw = letter["raw"] if body is None else body
    event = stored(identity(letter), raw, letter["stream_seq"], letter["received_at"])
    written = await store.add_events([event])
    if written.rejected:
        raise BadDocumentError(written.rejected[0])
    if written.duplicates and not await store.holds(event):
        raise TakenError(f"another event is stored as {event['_id']}")
    await store.remove_dead_letter(letter["_id"])
    return not written.duplicates
