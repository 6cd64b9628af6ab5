"""What becomes of each document of a batch, in a real MongoDB."""

import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from api_stub.errors import StoreUnavailableError
from api_stub.store import Store
from crypto_updates.local.servers import Mongod
from tests.support import HANG_SECONDS, lost_stops

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
NEW, LAST, THERE = ({"_id": name, "timestamp": SLOT} for name in ("new", "last", "there"))
OTHER = {"_id": "there", "timestamp": SLOT + timedelta(milliseconds=1)}
TAKEN = "another event is stored as there"
# BSON has no form for the one, and MongoDB takes no list as an id.
UNENCODABLE, REFUSED = {"_id": "large", "v": 2**64}, {"_id": [1]}


@pytest.fixture
def events(mongod: Mongod) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
        database = client[f"test_{uuid.uuid4().hex[:16]}"]
        database.events.insert_one(dict(THERE))
        yield database.events
        client.drop_database(database.name)


@pytest.fixture
async def store(mongod: Mongod, events: Collection[dict[str, Any]]) -> AsyncIterator[Store]:
    async with Store(mongod.url, events.database.name) as store:
        yield store


@pytest.mark.parametrize(
    ("batch", "duplicates", "rejected"),
    [
        ([NEW, THERE, LAST], {1}, {}),
        ([NEW, REFUSED, THERE, LAST], {2}, {1: "list|array"}),
        ([UNENCODABLE, NEW, REFUSED, THERE, LAST], {3}, {0: "64 bits", 2: "list|array"}),
        ([NEW, THERE, UNENCODABLE, THERE, UNENCODABLE, REFUSED, LAST], {1, 3}, {2: "bits", 4: "bits", 5: "array"}),
        ([UNENCODABLE], set(), {0: "64 bits"}),
        ([], set(), {}),
        ([NEW, OTHER, THERE, LAST], {2}, {1: TAKEN}),
        ([NEW, THERE | {"traceparent": "another worker's"}, LAST], {1}, {}),
        ([UNENCODABLE, OTHER, NEW, THERE, LAST, OTHER], {3}, {0: "64 bits", 1: TAKEN, 5: TAKEN}),
        ([NEW, NEW, NEW | {"timestamp": SLOT - timedelta(1)}], {1}, {2: "another event is stored as new"}),
    ],
    ids=[
        *("encodable", "one refused", "one of each", "several", "none encodable", "empty"),
        *("another event", "another trace", "others and one unencodable", "of one batch"),
    ],
)
async def test_each_document_of_a_batch_is_stored_or_told_by_its_own_index(
    store: Store,
    events: Collection[dict[str, Any]],
    batch: list[dict[str, Any]],
    duplicates: set[int],
    rejected: dict[int, str],
) -> None:
    written = await store.add_events([dict(document) for document in batch])
    assert written.duplicates == duplicates
    assert set(written.rejected) == set(rejected)
    for index, words in rejected.items():
        assert any(word in written.rejected[index] for word in words.split("|"))
    stored = {document["_id"] for document in events.find()}
    assert stored == {"there"} | {document["_id"] for document in batch if document in (NEW, LAST)}


@pytest.mark.parametrize(
    ("sizes", "rejected"),
    [([15, 15, 15, 15], {}), ([1, 17, 1], {1: "bytes as BSON, more than 16777216"})],
    ids=["60 MB in all", "17 MB in one"],
)
async def test_a_large_batch_is_stored_but_for_a_document_larger_than_mongodb_takes(
    mongod: Mongod, events: Collection[dict[str, Any]], sizes: list[int], rejected: dict[int, str]
) -> None:
    batch = [{"_id": str(number), "timestamp": SLOT, "v": bytes(size << 20)} for number, size in enumerate(sizes)]
    async with Store(mongod.url, events.database.name, HANG_SECONDS) as store:
        written = await store.add_events(batch)
    assert written.duplicates == set()
    assert written.rejected.keys() == rejected.keys()
    assert all(words in written.rejected[index] for index, words in rejected.items())
    assert {event["_id"] for event in events.find({}, {"_id": 1})} - {"there"} == {
        str(number) for number in range(len(sizes)) if number not in rejected
    }


async def test_a_duplicate_of_an_owners_unique_index_is_no_copy(
    store: Store, events: Collection[dict[str, Any]]
) -> None:
    events.create_index("timestamp", unique=True)
    written = await store.add_events([NEW])
    assert written.duplicates == set()
    assert "timestamp_1" in written.rejected[0]


async def test_an_event_that_is_gone_when_it_is_looked_up_is_tried_again(
    store: Store, events: Collection[dict[str, Any]]
) -> None:
    found = await store._timestamps(["there"])
    events.delete_one({"_id": "there"})
    assert found == {"there": SLOT}
    with pytest.raises(StoreUnavailableError, match="1 events were removed in this moment"):
        await store._timestamps(["there"])


async def test_a_stop_that_comes_together_with_an_answer_of_mongodb_is_not_lost(store: Store) -> None:
    assert await lost_stops(store.count_dead_letters) == 0
