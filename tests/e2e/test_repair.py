"""`crypto-updates audit --repair`: the missing slots are published with the prices of their time, once each."""

import asyncio
import json
import signal
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Self

import pytest
from nats.aio.client import Client

from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.bus.event import Quote, identity, text
from crypto_updates.bus.stream import stream_config
from crypto_updates.clock.slots import Gap
from crypto_updates.harness.link import Link
from crypto_updates.local import ports
from crypto_updates.local.servers import Mongod
from stack.check import repair
from stack.check.repair import Repair
from stack.check.target import Database
from tests.e2e.conftest import STEADY, Stack, gaps
from tests.e2e.test_audit import QUARTER, History, history
from tests.support import eventually, soon
from worker.market import MarketError, TemporaryMarketError, UnknownCoinsError
from worker.market.simulated import Simulated

__all__ = ["history"]
SECONDS = "* * * * * *"
FIRST = datetime.fromisoformat("2026-02-03T00:00:00Z")


def prices(stack: Stack, slots: Sequence[datetime]) -> dict[datetime, list[float]]:
    found = stack.events.find({"timestamp": {"$in": list(slots)}})
    return {event["timestamp"]: [quote["price"] for quote in event["data"]] for event in found}


@pytest.mark.timeout(120)
async def test_the_hole_of_an_outage_is_filled_once_beside_a_running_worker(
    history: History, stack: Stack, publisher: Client
) -> None:
    stack.api_stub()
    # Slots that are so far apart that a machine that stands still for a moment makes no other hole.
    step, timetable = 5, {"SCHEDULE": "*/5 * * * * *", "COINS": "bitcoin,ethereum"}
    worker = stack.worker(MISSED_SLOTS="none", **timetable)
    assert await soon(lambda: len(stack.slots()) >= 2)
    worker.kill(signal.SIGSTOP)
    assert not await soon(lambda: False, 2 * step + 1)
    worker.kill(signal.SIGCONT)
    assert await soon(lambda: bool(gaps(stack.slots()[:-1], step)))
    (before, after), *_ = gaps(stack.slots(), step)
    hole = [before + timedelta(seconds=n) for n in range(step, int((after - before).total_seconds()), step)]
    for published in (len(hole), 0):
        done = history.audit("--repair", "--json", **timetable)
        assert (done.status, done.document["missing"]) == (0, 0)
        assert done.document["repair"]["published"] == published
    assert gaps(stack.slots(), step) == []
    market = Simulated(coins=("bitcoin", "ethereum"), currency="usd")
    assert prices(stack, hole) == {slot: [quote.price for quote in await market.fetch(slot, 1)] for slot in hole}
    await asyncio.to_thread(worker.stop)
    messages = (await publisher.jetstream().stream_info("CRYPTO")).state.messages
    assert await soon(lambda: stack.events.count_documents({}) == messages)


async def test_a_repaired_slot_is_late_and_never_the_newest(history: History, stack: Stack, publisher: Client) -> None:
    slots = history.slots(60)
    history.store([slots[0], *slots[40:-1]])
    stack.api_stub()
    body = f'{{"event":"CRYPTO_UPDATE","timestamp":"{text(slots[-1])}"}}'.encode()
    await publisher.jetstream().publish("crypto.updates", body, headers={"Nats-Msg-Id": identity("crypto", slots[-1])})
    assert await soon(lambda: stack.events.count_documents({}) == 21)
    output = history.audit("--repair").output
    assert "\nRepair: 39 published with data of simulated, 0 stay without data\n" in f"\n{output}"
    assert "\nNo slot is missing.\n" in output
    document = history.audit("--json").document
    assert (document["missing"], document["late"], document["without_data"]) == (0, 39 + 1, 1)
    assert document["newest_stored"] == document["nats"]["newest_published"] == text(slots[-1])
    # A worker that starts now has missed nothing either.
    worker = stack.worker(SCHEDULE=history.schedule, MISSED_SLOTS="all")
    worker.wait_for_line("[NATS] Connected")
    assert not eventually(lambda: [line for line in worker.lines if "Missed" in line or "[PUBLISH]" in line], 2)


@pytest.mark.parametrize("window", [1, 3600])  # seconds in which the stream knows an event again
async def test_what_the_stream_has_and_mongodb_has_lost_is_stored_as_it_was(
    history: History, stack: Stack, publisher: Client, window: int
) -> None:
    config = stream_config(1)
    config.duplicate_window = window
    await publisher.jetstream().add_stream(config)
    stack.api_stub()
    worker = stack.worker(COINS="bitcoin", **STEADY)
    assert await soon(lambda: len(stack.slots()) >= 5)
    await asyncio.to_thread(worker.stop)
    assert not await soon(lambda: False, 1.5)  # what the worker published last, too, is older than the short window
    messages = (await publisher.jetstream().stream_info("CRYPTO")).state.messages
    kept = list(stack.events.find({}, {"received_at": 0}, sort=[("timestamp", 1)]))
    history.remove([event["timestamp"] for event in kept[1:3]])
    since, until = text(kept[0]["timestamp"]), kept[-1]["timestamp"]
    assert await soon(lambda: datetime.now(UTC) - until > timedelta(seconds=3))
    done = history.audit("--repair", "--json", "--since", since, SCHEDULE=SECONDS, COINS="ethereum")
    repaired = done.document["repair"]
    assert (repaired["already_in_stream"], repaired["stored_from_stream"]) == (2, 2)
    now = (await publisher.jetstream().stream_info("CRYPTO")).state.messages
    assert now == messages + repaired["published"]  # of slots since then
    wanted = {"timestamp": {"$lte": kept[-1]["timestamp"]}}
    assert list(stack.events.find(wanted, {"received_at": 0}, sort=[("timestamp", 1)])) == kept


@pytest.fixture
def slow_nats(stack: Stack) -> Iterator[str]:
    """The server's URL by a link on which a repair takes about a tenth of a second for a slot, and so can be met."""
    with Link(stack.nats.port) as link, link.slow(0.02):
        yield f"nats://127.0.0.1:{link.port}"


def test_a_long_repair_can_be_interrupted_and_repeated(history: History, stack: Stack, slow_nats: str) -> None:
    newest = history.slots(1)[0]
    history.store([newest - timedelta(minutes=2), newest])
    stack.api_stub()
    command = stack.run("stack", "audit", "--repair", SCHEDULE=SECONDS, NATS_URL=slow_nats)
    assert command.wait_for_line("Repair: ").endswith(" missing slots, oldest first")
    assert eventually(lambda: stack.events.count_documents({}) > 20)
    command.kill(signal.SIGINT)
    assert command.wait() == 1
    assert any("not published: stopped by a signal; repeat the command" in line for line in command.lines)
    assert any(line.startswith("total ") for line in command.lines)
    assert history.audit("--repair", SCHEDULE=SECONDS).status == 0


def test_without_nats_nothing_is_repaired_and_it_says_so(history: History) -> None:
    slots = history.slots(5)
    history.store(slots)
    history.remove(slots[1:3])
    done = history.audit("--repair", "--json", NATS_URL=f"nats://127.0.0.1:{ports.free()}")
    assert (done.status, done.document["repair"]["not_published"]) == (1, 2)
    assert "CONNECTION_REFUSED" in done.document["repair"]["problem"]


def test_a_market_without_a_past_leaves_the_events_without_data(history: History, stack: Stack) -> None:
    slots = history.slots(5)
    history.store(slots)
    history.remove(slots[1:3])
    stack.api_stub()
    done = history.audit("--repair", MARKET_SOURCE="none")
    assert done.status == 0
    assert "\nRepair: 2 published, 2 stay without data\n" in done.output
    assert [event.get("data") for event in stack.events.find({"timestamp": {"$in": slots[1:3]}})] == [None, None]


class Patchy:
    """A market that knows the past, and gives for each slot the next of these answers."""

    name = "patchy"

    def __init__(self, answers: list[tuple[Quote, ...] | MarketError]) -> None:
        self._answers = answers

    @property
    def past(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:  # noqa: ARG002 - a market's interface
        answer = self._answers.pop(0)
        if isinstance(answer, MarketError):
            raise answer
        return answer

    async def close(self) -> None:
        pass


async def repaired(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, answers: list[tuple[Quote, ...] | MarketError], **limits: float
) -> Repair:
    """A slot for each answer."""
    monkeypatch.setattr(repair, "open_market", lambda _: Patchy(answers))
    if "failing" in limits:
        monkeypatch.setattr(repair, "MAX_FAILING_SECONDS", limits["failing"])
    settings = repair.RepairSettings.load({"NATS_URL": stack.nats.url})
    gap = Gap(FIRST, FIRST + (len(answers) - 1) * QUARTER, len(answers))
    reader, store = Reader(settings.mongo_url, "none"), Store(settings.mongo_url, "none")
    async with reader, store:
        return await repair.run(settings, [gap], Database(reader, store), lambda _: None)


@pytest.mark.parametrize(
    ("answers", "counts"),
    [
        ("qdq", (2, 0, 1)),  # a slot whose fetch fails can still get its data
        ("qeq", (3, 1, 0)),  # the source has no prices of that time, and never will
        ("ddqdddq", (2, 0, 5)),  # a source that refuses some slots costs only those
    ],
)
async def test_a_slot_whose_data_may_still_come_is_left_for_the_next_repair(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, answers: str, counts: tuple[int, int, int]
) -> None:
    quotes = await Simulated(coins=("bitcoin",), currency="usd").fetch(FIRST, 1)
    kinds = {"q": quotes, "d": TemporaryMarketError("down"), "e": UnknownCoinsError("none")}
    done = await repaired(stack, monkeypatch, [kinds[kind] for kind in answers])
    assert (len(done.published), done.bare, done.left) == counts
    assert done.problem == ("down" if done.left else None)


async def test_a_source_that_is_down_for_too_long_ends_the_repair(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[tuple[Quote, ...] | MarketError] = [TemporaryMarketError("down")] * 9
    done = await repaired(stack, monkeypatch, answers, failing=0.0)
    assert (len(done.published), done.left, done.problem) == (0, 9, "down")
    assert len(answers) == 8  # it was asked once


async def keep_bare(publisher: Client, slots: Sequence[datetime]) -> None:
    """Have the stream keep events without data."""
    await publisher.jetstream().add_stream(stream_config(1))
    for slot in slots:
        body = f'{{"event":"CRYPTO_UPDATE","timestamp":"{text(slot)}"}}'.encode()
        await publisher.jetstream().publish("crypto.updates", body, headers={"Nats-Msg-Id": identity("crypto", slot)})


async def test_a_refusal_of_nats_is_told_as_that(history: History, publisher: Client) -> None:
    slots = history.slots(5)
    history.store(slots)
    history.remove(slots[1:3])
    config = stream_config(1)
    config.max_bytes = 300
    await publisher.jetstream().add_stream(config)
    done = history.audit("--repair", "--json")
    assert (done.status, done.document["repair"]["not_published"]) == (1, 2)
    assert "full" in done.document["repair"]["problem"]


async def test_what_the_stream_has_is_not_asked_of_the_market(
    history: History, stack: Stack, publisher: Client
) -> None:
    slots = history.slots(5)
    history.store(slots)
    history.remove(slots[1:4])
    await keep_bare(publisher, slots[1:3])
    done = history.audit("--repair")
    assert done.status == 1
    assert "\nRepair: 1 published with data of simulated, 2 stay without data\n" in done.output
    assert "\n  2 were in the stream already: 2 stored from there\n" in done.output
    assert "\n  1 not in MongoDB yet: see the API stub's log" in done.output
    assert "data" not in (stack.events.find_one({"timestamp": slots[1]}) or {"data": None})


async def test_nats_that_comes_back_during_the_repair_is_used(
    history: History, stack: Stack, publisher: Client
) -> None:
    slots = history.slots(5)
    history.store(slots)
    history.remove(slots[1:3])
    await keep_bare(publisher, slots[1:3])
    stack.nats.stop()
    command = stack.run("stack", "audit", "--repair", SCHEDULE=history.schedule)
    await asyncio.to_thread(command.wait_for_line, "Repair: publishing")
    stack.nats.start()
    assert await asyncio.to_thread(command.wait, 60) == 0
    assert any("2 were in the stream already: 2 stored from there" in line for line in command.lines)


def test_a_repair_is_told_when_mongodb_goes_afterwards(
    history: History, stack: Stack, mongod: Mongod, slow_nats: str
) -> None:
    slots = history.slots(60)
    history.store([slots[0], slots[-1]])
    stack.api_stub()
    command = stack.run("stack", "audit", "--repair", "--json", SCHEDULE=history.schedule, NATS_URL=slow_nats)
    assert eventually(lambda: stack.events.count_documents({}) > 10)
    mongod.kill(signal.SIGSTOP)
    try:
        assert command.wait(60) == 3
    finally:
        mongod.kill(signal.SIGCONT)
    document = "\n".join(line for line in command.lines if line[:1] in "{ }")
    assert json.loads(document)["repair"]["missing"] == 58
