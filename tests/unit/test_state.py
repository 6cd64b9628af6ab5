"""What /state says when a server does not tell."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from api_stub.codec import encode
from api_stub.config import ApiSettings
from api_stub.errors import StoreUnavailableError
from api_stub.http import schema
from api_stub.http.state import State
from api_stub.reader import Reader
from api_stub.retention import Beginning
from api_stub.store import Store
from api_stub.subscriber import Subscriber
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import UnreachableError


class NoNats:
    async def ping(self) -> None:
        raise UnreachableError


class CoreNats:
    lack: str | None = None
    refusal: str | None = None

    async def ping(self) -> None:
        pass

    async def connection(self, _wait: float) -> Connection:
        return Connection("nats://127.0.0.1:4222")


class NoMongo:
    async def newest(self, _feed: str, _now: datetime) -> datetime | None:
        raise StoreUnavailableError("MongoDB: refused")

    async def counts(self) -> dict[str, int]:
        raise StoreUnavailableError("MongoDB: refused")


class OldMongo(NoMongo):
    """Its newest event is a day old."""

    async def newest(self, _feed: str, now: datetime) -> datetime | None:
        return now - timedelta(days=1)

    async def stored(self, *_: object) -> dict[datetime, Any]:
        return {}


class SlowMongo(OldMongo):
    """It works, and lacks an index."""

    async def counts(self) -> dict[str, int]:
        return {"events": 1, "dead_letters": 0}

    async def lacks(self, *_: object) -> list[str]:
        return ["MongoDB lacks the index of events on timestamp, _id"]


class Storing:
    """A subscriber."""

    stored = 7
    problem: str | None = None


class WritableStore:
    async def check(self) -> None:
        pass


class WholeMongo(SlowMongo):
    """It counts how often it is asked for the slots."""

    asked = 0

    async def beginning(self, *_: object) -> Beginning:
        self.asked += 1
        return Beginning(None)


async def test_however_often_it_is_scraped_mongodb_is_asked_for_the_slots_once_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api_stub.http.state.FRESH_SECONDS", 60.0)
    reader, storing = WholeMongo(), cast(Subscriber, Storing())
    state = State(
        ApiSettings.load({}), cast(Bus, CoreNats()), cast(Store, WritableStore()), cast(Reader, reader), storing
    )
    first, second = await state.measured(), await state.measured()
    assert first["slots"]["ok"]
    assert second["slots"] == first["slots"]
    assert reader.asked == 1


async def told(bus: object, reader: object, subscriber: Storing | None = None) -> dict[str, Any]:
    storing = cast(Subscriber, subscriber or Storing())
    state = State(ApiSettings.load({}), cast(Bus, bus), cast(Store, WritableStore()), cast(Reader, reader), storing)
    answer: dict[str, Any] = json.loads(encode(await state.recent()))
    assert set(answer) == set(schema.State.model_validate(answer).model_dump())
    return answer


async def test_without_mongodb_nothing_is_known_of_the_worker() -> None:
    found = await told(CoreNats(), NoMongo())
    assert (found["worker"]["ok"], found["mongo"]["ok"]) == (None, False)
    assert found["worker"]["reason"] == found["mongo"]["reason"] == "MongoDB: refused"
    assert (found["worker"]["slot"], found["mongo"]["events"]) == (None, None)


async def test_a_worker_whose_event_has_not_come_is_not_well() -> None:
    found = (await told(NoNats(), OldMongo()))["worker"]
    assert (found["ok"], found["reason"].endswith(" has not come")) == (False, True)
    assert datetime.fromisoformat(found["slot"]) < datetime.now(UTC)


async def test_core_nats_is_well_and_has_no_figures() -> None:
    nats = dict.fromkeys(("messages", "last_seq", "pending", "ack_pending", "redelivered"))
    assert (await told(CoreNats(), NoMongo()))["nats"] == {"ok": True, "reason": None} | nats


async def test_without_nats_it_says_why() -> None:
    found = (await told(NoNats(), NoMongo()))["nats"]
    assert (found["ok"], found["messages"]) == (False, None)
    assert found["reason"].startswith("No NATS server")


async def test_what_works_less_well_than_it_should_is_named() -> None:
    bus = CoreNats()
    bus.lack = "nats://x has no JetStream"
    found = await told(bus, SlowMongo())
    assert (found["nats"]["ok"], found["nats"]["reason"]) == (True, "nats://x has no JetStream")
    assert (found["mongo"]["ok"], found["mongo"]["reason"]) == (
        True,
        "MongoDB lacks the index of events on timestamp, _id",
    )


async def test_a_subscriber_whose_events_wait_is_not_well() -> None:
    assert (await told(CoreNats(), SlowMongo()))["api_stub"] == {"ok": True, "reason": None, "stored": 7}
    subscriber = Storing()
    subscriber.problem = "MongoDB refuses the user"
    found = (await told(CoreNats(), SlowMongo(), subscriber))["api_stub"]
    assert found == {"ok": False, "reason": "MongoDB refuses the user", "stored": 7}
