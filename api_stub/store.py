"""MongoDB: the `events` and `dead_letters` collections, and the only place of this service that knows pymongo."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import bson
import pymongo
from bson.errors import BSONError
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.uri_parser import parse_uri

from api_stub.errors import BadDocumentError, StoreUnavailableError
from crypto_updates.bus.event import RESERVED

Document = Mapping[str, Any]
Events = AsyncCollection[dict[str, Any]]

# Seconds for one operation, below the consumer's ack wait.
DEADLINE = 5.0
# Write errors that tell of the document and not of the server, so that trying again cannot help
# (mongo/src/mongo/base/error_codes.yml); storage errors, "no space left" among them, are none of these.
FAULTS = {2, 15, 22, 52, 53, 54, 55, 56, 57, 121, 10334, 17280}
DUPLICATE = 11000
MAX_DOCUMENT = 16 * 1024 * 1024
# What the encoder raises for a document that BSON cannot hold.
UNENCODABLE = (BSONError, OverflowError, UnicodeEncodeError, RecursionError)


class Written(NamedTuple):
    """Indexes into the documents given: those the store had already, and those it can never take, with the reason."""

    duplicates: set[int]
    rejected: dict[int, str]


def direct(url: str) -> bool:
    """True where the URL names a single host and no `replicaSet`: it is spoken to by that name, whatever its replica
    set calls it. `directConnection` in the URL decides otherwise. Raises ValueError for a URL that is none.
    """
    if not url.startswith("mongodb://"):
        return False
    try:
        parsed = parse_uri(url)
    except PyMongoError as error:
        raise ValueError(str(error)) from error
    alone = len(parsed["nodelist"]) == 1 and "replicaSet" not in parsed["options"]
    return bool(parsed["options"].get("directConnection", alone))


def connect(url: str, deadline: float = DEADLINE) -> AsyncMongoClient[dict[str, Any]]:
    """A client whose operations take so many seconds at most."""
    return AsyncMongoClient(url, tz_aware=True, timeoutMS=int(deadline * 1000), directConnection=direct(url))


class Store:
    def __init__(self, url: str, database: str) -> None:
        self._client = connect(url)
        durable = WriteConcern(w="majority", j=True)
        self._events = self._client[database].get_collection("events", write_concern=durable)
        self._dead_letters = self._client[database].get_collection("dead_letters", write_concern=durable)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # It tells the server that its sessions end, and would wait half a minute for one that is down.
        with pymongo.timeout(1):
            await self._client.close()

    async def ping(self) -> None:
        """A round trip within 2 s. Raises StoreUnavailableError."""
        with available(), pymongo.timeout(2):
            await self._client.admin.command("ping")

    async def add_events(self, documents: Sequence[Document]) -> Written:
        return await _insert(self._events, documents)

    async def add_dead_letters(self, documents: Sequence[Document]) -> Written:
        return await _insert(self._dead_letters, documents)

    async def holds(self, event: Document) -> bool:
        """True if `events` has this event under its id, whenever and from wherever in the stream it came."""
        with available():
            found = await self._events.find_one({"_id": event["_id"]}, dict.fromkeys(RESERVED, 0))
        content = {key: value for key, value in event.items() if key not in RESERVED}
        return found is not None and bson.encode(found) == bson.encode(content)

    async def dead_letters(self, limit: int) -> list[dict[str, Any]]:
        """The newest first, with the `size` of each body in place of its bytes."""
        fields = {"headers": 1, "reason": 1, "stream_seq": 1, "received_at": 1, "size": {"$binarySize": "$raw"}}
        # The bodies, up to 15 MB each, are left behind before sorting.
        stages: list[dict[str, Any]] = [{"$project": fields}, {"$sort": {"received_at": -1, "_id": -1}}]
        stages.append({"$limit": limit})
        with available():
            return await (await self._dead_letters.aggregate(stages)).to_list()

    async def dead_letter(self, identity: str) -> dict[str, Any] | None:
        with available():
            return await self._dead_letters.find_one({"_id": identity})

    async def dead_letter_ids(self) -> list[str]:
        """All of them, the oldest first."""
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


@contextlib.contextmanager
def available() -> Iterator[None]:
    """Raises StoreUnavailableError for what MongoDB, or the way to it, is the reason of."""
    try:
        yield
    except PyMongoError as error:
        raise StoreUnavailableError(f"MongoDB: {brief(error)}") from error


async def _insert(collection: Events, documents: Sequence[Document]) -> Written:
    """Store what can be stored. Raises StoreUnavailableError, and then it may all be tried again."""
    try:
        return await _write(collection, documents)
    except UNENCODABLE:
        # One such document makes the whole bulk store nothing. They are rare, so that no other batch is encoded twice.
        encoded, rejected = _encoded(documents)
    written = await _write(collection, list(encoded.values()))
    indexes = list(encoded)
    refused = {indexes[index]: reason for index, reason in written.rejected.items()}
    return Written({indexes[index] for index in written.duplicates}, rejected | refused)


async def _write(collection: Events, documents: Sequence[Document]) -> Written:
    """Raises one of UNENCODABLE, or StoreUnavailableError."""
    with available():
        try:
            if documents:
                await collection.insert_many(cast(list[dict[str, Any]], documents), ordered=False)
        except BulkWriteError as error:
            return _sort_out(error.details)
    return Written(set(), {})


def _encoded(documents: Sequence[Document]) -> tuple[dict[int, RawBSONDocument], dict[int, str]]:
    """By index, those that can be encoded, and why the others cannot."""
    encoded, rejected = {}, {}
    for index, document in enumerate(documents):
        try:
            encoded[index] = _encode(document)
        except BadDocumentError as error:
            rejected[index] = str(error)
    return encoded, rejected


def _encode(document: Document) -> RawBSONDocument:
    try:
        raw = bson.encode(document)
    except UNENCODABLE as error:
        raise BadDocumentError(f"body: not storable: {error}") from error
    if len(raw) > MAX_DOCUMENT:
        raise BadDocumentError(f"body: {len(raw)} bytes as BSON, more than {MAX_DOCUMENT}")
    return RawBSONDocument(raw)


def _sort_out(details: Mapping[str, Any]) -> Written:
    """A duplicate key is a success: MongoDB tells of it only once the first writer's copy holds the write concern."""
    if details["writeConcernErrors"]:
        raise StoreUnavailableError(f"MongoDB: {details['writeConcernErrors'][0]['errmsg']}")
    written = Written(set(), {})
    for error in details["writeErrors"]:
        if error["code"] == DUPLICATE:
            written.duplicates.add(error["index"])
        elif error["code"] in FAULTS:
            written.rejected[error["index"]] = f"body: not storable: {error['errmsg']}"
        else:
            raise StoreUnavailableError(f"MongoDB: {error['errmsg']}")
    return written


def brief(error: Exception) -> str:
    """What happened, without the driver's view of the topology and its repetitions behind it."""
    return re.split(r" \(configured timeouts|, Timeout: |, full error", str(error))[0]
