"""MAX_EVENT_AGE: the index that MongoDB removes events by, and what the audit and the API make of slots that went."""

import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from api_stub import indexes, retention
from api_stub.errors import StoreUnavailableError
from api_stub.mongo import Mongo
from api_stub.reader import Reader
from crypto_updates.bus.event import identity, text
from crypto_updates.clock.timetable import Timetable
from crypto_updates.local import ports
from crypto_updates.local.servers import Mongod
from stack.setup import database as setup
from stack.setup.config import ProvisionSettings
from stack.setup.errors import SetupError
from tests.e2e.conftest import Stack
from tests.e2e.test_audit import History
from tests.support import eventually, soon

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Prompt(Mongod):
    """It looks for old events each second, not each minute."""

    def _args(self, port: int) -> Sequence[str]:
        return [*super()._args(port), "--setParameter", "ttlMonitorSleepSecs=1"]


@pytest.fixture
def events(mongod: Mongod) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongod.url, directConnection=True, tz_aware=True) as client:
        database = client[f"test_{uuid.uuid4().hex[:16]}"]
        yield database.events
        client.drop_database(database.name)


@pytest.fixture
async def database(mongod: Mongod, events: Collection[dict[str, Any]]) -> AsyncIterator[AsyncDatabase[dict[str, Any]]]:
    async with Mongo(mongod.url, events.database.name) as client:
        yield client.database


def ages(events: Collection[dict[str, Any]]) -> dict[str, int]:
    """The seconds of each TTL index."""
    found = events.index_information().items()
    return {name: index["expireAfterSeconds"] for name, index in found if "expireAfterSeconds" in index}


async def test_the_age_is_made_changed_and_removed(
    database: AsyncDatabase[dict[str, Any]], events: Collection[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for wanted in (None, DAY, DAY, 90 * DAY, HOUR, None, None):
        await retention.apply(database, wanted)
        assert await retention.age(database) == wanted
        assert ages(events) == ({"max_event_age": wanted // timedelta(seconds=1)} if wanted else {})
    assert [message.removeprefix("[MONGO] ") for message in caplog.messages] == [
        "Events go 1d after their slot (MAX_EVENT_AGE)",
        "Events go 90d after their slot (MAX_EVENT_AGE)",
        "Events go 1h after their slot (MAX_EVENT_AGE)",
        "No event goes any more (MAX_EVENT_AGE is not set)",
    ]


@pytest.mark.parametrize("index", [{"name": "mine", "expireAfterSeconds": 7}, {"name": retention.NAME}])
async def test_an_index_of_the_owners_stays(
    database: AsyncDatabase[dict[str, Any]],
    events: Collection[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
    index: dict[str, Any],
) -> None:
    events.create_index("timestamp", **index)
    before = events.index_information()
    assert await retention.settle(database, None)
    assert caplog.messages == []
    assert await retention.settle(database, DAY)
    assert "[MONGO] MAX_EVENT_AGE has no effect: " in caplog.text
    assert events.index_information() == before


async def test_without_mongodb_another_try_may_help(
    database: AsyncDatabase[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise AutoReconnect("away")

    with monkeypatch.context() as patch:
        patch.setattr(retention, "age", away)
        assert not await retention.settle(database, DAY)
    assert await retention.settle(database, DAY)


async def test_no_event_goes_before_the_first_slot_is_noted(
    mongod: Mongod,
    database: AsyncDatabase[dict[str, Any]],
    events: Collection[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slot, found = datetime(2023, 11, 21, 14, 30, tzinfo=UTC), list[dict[str, int]]()

    async def first(*_: object) -> datetime:
        found.append(ages(events))
        if len(found) < 3:
            raise StoreUnavailableError("away")
        return slot

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "first", first)
        settings = ProvisionSettings.load({"MONGO_URL": mongod.url, "MONGO_DB": database.name, "MAX_EVENT_AGE": "1d"})
        with pytest.raises(SetupError, match=r"MAX_EVENT_AGE: MongoDB at .*: away"):
            await setup.retain(settings)
    monkeypatch.setattr(indexes, "MAKE_AGAIN_SECONDS", 0.0)
    async with indexes.kept(database, "crypto", first, DAY):
        assert await soon(lambda: ages(events)) == {retention.NAME: 86_400}
    assert found == [{}] * 3
    assert events.database.feeds.find_one() == {"_id": "crypto", "first": slot}


def test_the_api_stub_keeps_it_from_its_start_on_and_provision_does_too(stack: Stack) -> None:
    for age, seconds in (("90m", 5400), ("2h", 7200)):
        with_age = stack.api_stub(MAX_EVENT_AGE=age)
        assert eventually(lambda seconds=seconds: ages(stack.events) == {"max_event_age": seconds})
        with_age.stop()
    now, feeds = datetime.now(UTC).replace(microsecond=0), stack.events.database.feeds
    stack.events.insert_one({"_id": identity("crypto", now), "timestamp": now, "received_at": now})
    assert feeds.find_one() is None
    assert stack.run("stack", "provision", MAX_EVENT_AGE="7d").wait() == 0
    assert ages(stack.events) == {"max_event_age": 604_800}
    assert feeds.find_one() == {"_id": "crypto", "first": now}
    without = stack.api_stub()
    assert eventually(lambda: ages(stack.events) == {})
    without.stop()


def test_mongodb_removes_the_events_that_are_older_and_no_others() -> None:
    now = datetime.now(UTC)
    with Prompt() as server, MongoClient[dict[str, Any]](server.url, directConnection=True, tz_aware=True) as client:
        slots = [now - minutes * timedelta(minutes=1) for minutes in range(-5, 120, 5)]
        client.crypto.events.insert_many({"_id": text(slot), "timestamp": slot} for slot in slots)
        client.crypto.events.create_index("timestamp", name=retention.NAME, expireAfterSeconds=3600)
        kept = {text(slot) for slot in slots if now - slot < HOUR - timedelta(minutes=3)}
        assert eventually(lambda: client.crypto.events.count_documents({}) <= len(kept) + 1)
        assert kept <= {event["_id"] for event in client.crypto.events.find()}


def old(history: History, age: timedelta) -> list[datetime]:
    """Store two days of slots. Then remove those that are older than the age, but for one that lingers."""
    slots = history.slots(192)
    history.store(slots)
    expired = [slot for slot in slots if slot < datetime.now(UTC) - age]
    history.remove(expired[1:])
    return slots


def test_the_audit_does_not_call_a_slot_missing_that_went_by_its_age(stack: Stack) -> None:
    history, age = History(stack), 10 * HOUR
    slots = old(history, age)
    assert history.audit("--since", "7d").status == 1
    # MongoDB itself may remove the one that lingers, in a minute or so. Nothing here depends on that.
    stack.events.create_index("timestamp", name=retention.NAME, expireAfterSeconds=int(age.total_seconds()))
    done = history.audit("--since", "7d")
    assert done.status == 0
    assert "(the first that is kept: MAX_EVENT_AGE=10h)" in done.output
    found = history.audit("--since", "7d", "--json").document
    assert found["max_event_age"] == 36_000
    assert 38 <= found["expected"] == found["stored"] <= 40
    assert datetime.fromisoformat(found["since"]) >= datetime.now(UTC) - age
    history.remove(slots[-5:-4])
    assert history.audit("--since", "7d").status == 1


def test_the_api_calls_no_slot_missing_that_went_by_its_age_but_a_gap_after_those(stack: Stack) -> None:
    history, port = History(stack), str(ports.free())
    slots = old(history, 10 * HOUR)
    api = stack.api_stub(MAX_EVENT_AGE="10h", HTTP_PORT=port, SCHEDULE=history.schedule)
    api.wait_for_line("[HTTP] Listening")
    assert eventually(lambda: ages(stack.events) == {"max_event_age": 36_000})
    found = httpx.get(url := f"http://127.0.0.1:{port}/slots?hours=24", trust_env=False).json()
    assert (found["missing"], found["max_event_age"]) == (0, 36_000)
    assert 38 <= found["expected"] == found["stored"] <= 41
    assert {cell["state"] for cell in found["slots"]} >= {"before", "stored"}
    assert datetime.fromisoformat(found["beginning"]) > datetime.now(UTC) - 10 * HOUR
    # All events before the gap are gone.
    history.remove(slots[:-30])
    missing = httpx.get(url, trust_env=False).json()["missing"]
    assert 8 <= missing <= 11
    done = history.audit("--since", "7d")
    assert done.status == 1
    assert f" to {text(slots[-31])} (" in done.output


@pytest.mark.parametrize("off", [-HOUR, HOUR])
async def test_the_age_counts_by_mongodbs_clock_also_when_no_event_is_left(
    mongod: Mongod, database: AsyncDatabase[dict[str, Any]], off: timedelta
) -> None:
    """An audit that repairs knows the time of its start, and clocks differ."""

    async def first() -> datetime:
        return datetime(2023, 11, 21, 14, 30, tzinfo=UTC)

    assert await retention.note(database, "crypto", first)
    assert await retention.note(database, "crypto", first)
    await retention.apply(database, DAY)
    async with Reader(mongod.url, database.name) as reader:
        found = await reader.beginning(Timetable(), datetime.now(UTC) + off)
    assert (found.age, found.is_aged) == (DAY, True)
    assert found.at
    assert abs(found.at - (datetime.now(UTC) - DAY)) < 5 * timedelta(minutes=1)


async def test_what_is_not_as_the_variable_says_is_told(
    mongod: Mongod, database: AsyncDatabase[dict[str, Any]]
) -> None:
    async with Reader(mongod.url, database.name) as reader:
        await retention.apply(database, DAY)
        assert not [lack for lack in await reader.lacks(DAY, HOUR) if "MAX_EVENT_AGE" in lack]
        told = "MongoDB removes events 1d after their slot, and MAX_EVENT_AGE is 2h: run `crypto-updates provision`"
        assert told in await reader.lacks(2 * HOUR, HOUR)
