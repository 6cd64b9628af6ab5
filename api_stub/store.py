"""How the collections `events` and `dead_letters` are written to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import bson
import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import ReadPreference, WriteConcern
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure

from api_stub import document, query
from api_stub.errors import BadDocumentError, StoreUnavailableError
from api_stub.mongo import MONGO_SECONDS, PING_SECONDS, Document, Events, Mongo, available
from crypto_updates.bus.event import RESERVED
from crypto_updates.bus.trace import TRACEPARENT

# Of a document; told of the whole batch, of which the server then takes nothing.
TOO_LARGE = 10334
# Write errors that are the document's fault, so that another try cannot help (mongo/src/mongo/base/error_codes.yml).
# Storage errors, such as "no space left", have other codes.
FAULTS = {2, 15, 22, 52, 53, 54, 55, 56, 57, 121, TOO_LARGE, 17280}
DUPLICATE = 11000
BY_ID = {"_id": 1}


class Written(NamedTuple):
    """Indexes of the documents that were stored already, and of those that cannot be stored, with the reason."""

    duplicates: set[int]
    rejected: dict[int, str]


class Store(Mongo):
    """Writes that MongoDB confirms only when they survive a crash. Every method raises StoreUnavailableError."""

    def __init__(self, url: str, database: str, seconds: float = MONGO_SECONDS) -> None:
        super().__init__(url, database, seconds)
        self._events = self._collection("events")
        self._dead_letters = self._collection("dead_letters")

    def _collection(self, name: str) -> Events:
        # A secondary may not know yet what the primary has just refused as a duplicate.
        return self.database.get_collection(
            name, read_preference=ReadPreference.PRIMARY, write_concern=WriteConcern(w="majority", j=True)
        )

    async def check(self) -> None:
        """Raises StoreUnavailableError when MongoDB does not answer within PING_SECONDS, or takes no writes."""
        with pymongo.timeout(PING_SECONDS):
            if not await self.takes_writes():
                raise StoreUnavailableError("MongoDB takes no writes: it is not the primary of its replica set")

    async def add_events(self, documents: Sequence[Document]) -> Written:
        """An event whose `_id` is taken is stored already if `timestamp` is the same. Else it is rejected."""
        written = await _insert(self._events, documents)
        if not written.duplicates:
            return written
        known = {index: documents[index]["_id"] for index in written.duplicates}
        slots = await self._timestamps([*known.values()])
        taken = {index: name for index, name in known.items() if slots[name] != documents[index]["timestamp"]}
        reasons = {index: f"another event is stored as {name}" for index, name in taken.items()}
        return Written(written.duplicates - taken.keys(), written.rejected | reasons)

    async def add_dead_letters(self, documents: Sequence[Document]) -> Written:
        return await _insert(self._dead_letters, documents)

    async def _timestamps(self, ids: Sequence[str]) -> dict[str, object]:
        """The `timestamp` of each of these events, which have just been said to be stored."""
        with available():
            found = await self._events.find({"_id": {"$in": ids}}, {"timestamp": 1}).to_list()
        if missing := {*ids} - {event["_id"] for event in found}:
            raise StoreUnavailableError(f"MongoDB: {len(missing)} events were removed in this moment")
        return {event["_id"]: event.get("timestamp") for event in found}

    async def holds(self, event: Document) -> bool:
        """True if `events` has this event under its id. What the store itself has added may differ."""
        added = (*RESERVED, TRACEPARENT)
        with available():
            found = await self._events.find_one({"_id": event["_id"]}, dict.fromkeys(added, 0))
        content = {key: value for key, value in event.items() if key not in added}
        return found is not None and bson.encode(found) == bson.encode(content)

    async def remove_probes(self, identity: str, name: str, before: datetime) -> None:
        """Remove the event of this id, and older ones of the feed `name` that `name` itself published."""
        older = query.slots(name, query.EPOCH, before) | {"source": name}
        with available():
            await self._events.delete_many({"$or": [{"_id": identity}, older]})

    async def dead_letters(self, limit: int) -> list[Document]:
        """The newest first, with the `size` of each body in place of its bytes, and large headers as None."""
        fields = {
            "headers": query.LISTED_HEADERS,
            "reason": 1,
            "stream_seq": 1,
            "received_at": 1,
            "size": {"$binarySize": "$raw"},
        }
        # Drop the bodies, up to 15 MB each, before the sort.
        stages: query.Stages = [{"$project": fields}, {"$sort": dict(query.LETTERS_FIRST)}, {"$limit": limit}]
        with available():
            return await (await self._dead_letters.aggregate(stages)).to_list()

    async def dead_letter(self, identity: str) -> Document | None:
        with available():
            return await self._dead_letters.find_one({"_id": identity})

    async def dead_letter_ids(self) -> list[str]:
        """The ids of all dead letters, the oldest first."""
        with available():
            letters = await self._dead_letters.find({}, {"received_at": 1}, sort=[("received_at", 1)]).to_list()
        return [letter["_id"] for letter in letters]

    async def count_dead_letters(self) -> int:
        with available():
            return await self._dead_letters.count_documents({}, hint="_id_")

    async def remove_dead_letter(self, identity: str) -> bool:
        """Return False if it was not there."""
        with available():
            return (await self._dead_letters.delete_one({"_id": identity})).deleted_count > 0


async def _insert(collection: Events, documents: Sequence[Document]) -> Written:
    """Store what can be stored. Raises StoreUnavailableError; then the whole batch may be tried again."""
    try:
        return await _write(collection, documents)
    except document.UNENCODABLE:
        # One such document makes the whole bulk store nothing. They are rare, so only such a batch is encoded twice.
        encoded, rejected = _encoded(documents)
    written = await _write(collection, list(encoded.values()))
    indexes = list(encoded)
    refused = {indexes[index]: reason for index, reason in written.rejected.items()}
    return Written({indexes[index] for index in written.duplicates}, rejected | refused)


async def _write(collection: Events, documents: Sequence[Document | RawBSONDocument]) -> Written:
    """Raises one of document.UNENCODABLE, or StoreUnavailableError."""
    with available():
        try:
            if documents:
                await collection.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            return _sort_out(error.details)
        except OperationFailure as error:
            if error.code == TOO_LARGE:
                raise DocumentTooLarge(str(error)) from error
            raise
    return Written(set(), {})


def _encoded(documents: Sequence[Document]) -> tuple[dict[int, RawBSONDocument], dict[int, str]]:
    """By index: the encoded documents, and why the others cannot be encoded."""
    encoded, rejected = {}, {}
    for index, each in enumerate(documents):
        try:
            encoded[index] = document.encode(each)
        except BadDocumentError as error:
            rejected[index] = str(error)
    return encoded, rejected


def _sort_out(details: Mapping[str, Any]) -> Written:
    """MongoDB reports a duplicate key only after the first document of that key is durable."""
    if details["writeConcernErrors"]:
        raise StoreUnavailableError(f"MongoDB: {details['writeConcernErrors'][0]['errmsg']}")
    written = Written(set(), {})
    for error in details["writeErrors"]:
        if error["code"] == DUPLICATE and error.get("keyPattern", BY_ID) == BY_ID:
            written.duplicates.add(error["index"])
        elif error["code"] in {DUPLICATE, *FAULTS}:  # a duplicate of an owner's unique index is no copy
            written.rejected[error["index"]] = f"body: not storable: {error['errmsg']}"
        else:
            raise StoreUnavailableError(f"MongoDB: {error['errmsg']}")
    return written
