"""What becomes of a slot when the worker is stopped in the middle of it."""

import asyncio
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import REGISTRY

from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.event import Event, Quote, encode
from tests.support import soon
from worker import pipeline, turn
from worker.config import WorkerSettings
from worker.market import MarketError
from worker.market.simulated import Simulated
from worker.outbox import Outbox, Waiting
from worker.pipeline import Pipeline

DAY = timedelta(days=1)


class Slow:
    """A market that does not answer."""

    name = "slow"

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.past: Slow | None = self

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:  # noqa: ARG002 - a market's interface
        self.asked.set()
        await asyncio.sleep(60)
        return ()

    async def close(self) -> None:
        pass


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox", "crypto") as outbox:
        yield outbox


@pytest.mark.parametrize("is_first", [True, False], ids=["it claimed the slot", "another one did"])
async def test_a_worker_that_is_stopped_while_it_fetches_leaves_an_event_only_when_it_claimed_the_slot(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    async def claim(*_: object) -> bool:
        return is_first

    async def comes(*_: object) -> bool:
        return False

    monkeypatch.setattr(turn, "claim", claim)
    monkeypatch.setattr(turn, "comes", comes)
    settings, market = WorkerSettings.load({}), Slow()
    slot = settings.cron.previous(datetime.now(UTC))
    work = asyncio.create_task(Pipeline(settings, Bus(settings, "test"), market, outbox)._make([slot]))
    await asyncio.wait_for(market.asked.wait(), 5)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert outbox.oldest() == (Waiting(slot, encode(Event(timestamp=slot))) if is_first else None)


async def test_a_worker_that_is_stopped_while_it_waits_for_another_one_publishes_nothing(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = asyncio.Event()

    async def claim(*_: object) -> bool:
        return False

    async def comes(*_: object) -> bool:
        waiting.set()
        await asyncio.sleep(60)
        return False

    monkeypatch.setattr(turn, "claim", claim)
    monkeypatch.setattr(turn, "comes", comes)
    settings = WorkerSettings.load({})
    slot = settings.cron.previous(datetime.now(UTC))
    work = asyncio.create_task(Pipeline(settings, Bus(settings, "test"), None, outbox)._make([slot]))
    await asyncio.wait_for(waiting.wait(), 5)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert outbox.oldest() is None


class Past(Slow):
    """A market whose fetches take so many seconds each, and fail if it is down."""

    def __init__(self, seconds: float, *, is_down: bool = False) -> None:
        super().__init__()
        self.budgets: list[float] = []
        self._seconds = seconds
        self._is_down = is_down

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        self.budgets.append(budget)
        await asyncio.sleep(min(self._seconds, budget))
        if self._is_down:
            raise MarketError("down")
        return await Simulated(coins=("turning",), currency="usd").fetch(slot, budget)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other worker takes a turn."""

    async def claim(*_: object) -> bool:
        return True

    monkeypatch.setattr(turn, "claim", claim)


@pytest.mark.parametrize("is_down", [True, False])
@pytest.mark.usefixtures("alone")
async def test_a_market_holds_up_a_catch_up_only_for_a_while(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, *, is_down: bool
) -> None:
    clock = [0.0]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(pipeline, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(pipeline, "MAX_CATCH_UP_SECONDS", 0.8)
    settings, market = WorkerSettings.load({}), Past(0.1, is_down=is_down)
    slots = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(20)]
    await Pipeline(settings, Bus(settings, "test"), market, outbox)._make([*slots])
    assert outbox.slots() == set(slots)
    # Each fetch takes 0.1 s, and the rest after it 0.2 s. No fetch comes after the last rest, so nobody waits for it.
    assert market.budgets == pytest.approx([0.8, 0.5, 0.2])
    assert clock[0] == pytest.approx(3 * 0.1 + 2 * 0.2)


@pytest.mark.usefixtures("alone")
async def test_a_past_slot_is_not_asked_of_a_market_that_knows_only_the_present(outbox: Outbox) -> None:
    settings, market = WorkerSettings.load({}), Past(0)
    market.past = None
    slot = datetime(2026, 1, 1, tzinfo=UTC)
    await Pipeline(settings, Bus(settings, "test"), market, outbox)._make([slot])
    assert outbox.oldest() == Waiting(slot, encode(Event(timestamp=slot)))
    assert market.budgets == []


async def test_a_worker_that_waits_for_its_turn_still_asks_for_the_prices_of_now(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def claim(*_: object) -> bool:
        return False

    async def comes(*_: object) -> bool:
        await asyncio.sleep(0.7)
        return False

    monkeypatch.setattr(turn, "claim", claim)
    monkeypatch.setattr(turn, "comes", comes)
    settings, market = WorkerSettings.load({"SCHEDULE": "* * * * * *"}), Past(0)
    market.past = None
    # After half of its second the slot would be past before its turn.
    while True:
        now = datetime.now(UTC)
        if now.microsecond < 100_000:
            break
        await asyncio.sleep(1 - now.microsecond / 1e6)
    await Pipeline(settings, Bus(settings, "test"), market, outbox)._make([settings.cron.previous(now)])
    assert market.budgets == [0.5]


async def test_a_worker_that_loses_its_turn_drops_the_ages_and_the_prices_of_its_quotes(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_mine = True

    async def claim(*_: object) -> bool:
        return is_mine

    async def comes(*_: object) -> bool:
        return True

    def age() -> float | None:
        return REGISTRY.get_sample_value("crypto_market_quote_age_seconds", {"coin": "turning"})

    def price() -> float | None:
        return REGISTRY.get_sample_value("crypto_price", {"coin": "turning", "currency": "usd"})

    monkeypatch.setattr(turn, "claim", claim)
    monkeypatch.setattr(turn, "comes", comes)
    settings = WorkerSettings.load({"COINS": "turning"})
    slot = settings.cron.next(datetime.now(UTC))
    worker = Pipeline(settings, Bus(settings, "test"), Past(0, is_down=True), outbox)
    worker._freshness.forget()
    await worker._make([slot])
    assert age() == math.inf
    worker._market = Past(0)
    await worker._make([slot])
    assert age() == pytest.approx(0, abs=5)
    assert price()
    is_mine = False
    await worker._make([slot])
    assert (age(), price()) == (None, None)


def connected(settings: WorkerSettings) -> Bus:
    bus = Bus(settings, "test")
    bus._serve(Connection("nats://127.0.0.1:4222"))
    return bus


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The slots that were claimed, each one with success if it was the first time."""
    slots: list[datetime] = []

    async def claim(*args: object) -> bool:
        slot = args[-1]
        assert isinstance(slot, datetime)
        slots.append(slot)
        return slots.count(slot) == 1

    monkeypatch.setattr(turn, "claim", claim)
    return slots


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> set[datetime]:
    """The slots that another worker has made."""
    slots: set[datetime] = set()

    async def holds(*args: object) -> bool:
        return args[-1] in slots

    monkeypatch.setattr(turn, "holds", holds)
    monkeypatch.setattr(turn, "comes", holds)
    return slots


@pytest.mark.usefixtures("made")
async def test_a_slot_that_was_claimed_ahead_is_made_without_asking_again(
    outbox: Outbox, claimed: list[datetime]
) -> None:
    settings = WorkerSettings.load({})
    slot = settings.cron.next(datetime.now(UTC))
    worker = Pipeline(settings, connected(settings), None, outbox)
    for _ in range(2):  # a clock that was set back announces it again
        worker.announce(slot)
    await asyncio.sleep(0)
    await worker._make([slot])
    assert (claimed, outbox.slots()) == ([slot], {slot})


async def test_a_slot_claimed_ahead_of_a_long_sleep_is_made_only_if_nobody_else_has(
    outbox: Outbox, claimed: list[datetime], made: set[datetime]
) -> None:
    settings = WorkerSettings.load({})
    worker = Pipeline(settings, connected(settings), None, outbox)
    left, other = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    made.add(other)
    for slot in (left, other):
        worker._claim(slot)
        await worker._make([slot])
    assert (claimed, outbox.slots()) == ([left, other], {left})


@pytest.mark.usefixtures("made")
async def test_a_claim_outlasts_that_of_a_later_slot_while_its_own_slot_waits(
    outbox: Outbox, claimed: list[datetime]
) -> None:
    settings = WorkerSettings.load({})
    worker = Pipeline(settings, connected(settings), None, outbox)
    first = settings.cron.next(datetime.now(UTC))
    second = settings.cron.next(first)
    for slot in (first, second):
        worker._claim(slot)
    for slot in (first, second):
        await worker._make([slot])
    assert (claimed, outbox.slots()) == ([first, second], {first, second})


async def test_a_worker_that_is_behind_claims_no_coming_slot(outbox: Outbox) -> None:
    settings = WorkerSettings.load({})
    worker = Pipeline(settings, connected(settings), None, outbox)
    slot = settings.cron.next(datetime.now(UTC))
    worker._take(slot)
    worker._claim(settings.cron.next(slot))
    assert not worker._claims


async def test_without_nats_nothing_is_claimed_ahead(outbox: Outbox, claimed: list[datetime]) -> None:
    settings = WorkerSettings.load({})
    worker = Pipeline(settings, Bus(settings, "test"), None, outbox)
    slot = settings.cron.next(datetime.now(UTC))
    worker._claim(slot)
    await worker._make([slot])
    assert claimed == [slot]


@pytest.mark.usefixtures("alone")
async def test_an_event_that_nats_does_not_acknowledge_is_soon_on_the_disk(outbox: Outbox, tmp_path: Path) -> None:
    settings = WorkerSettings.load({})
    slot = settings.cron.previous(datetime.now(UTC))
    await Pipeline(settings, connected(settings), None, outbox)._make([slot])
    assert outbox.oldest() == Waiting(slot, encode(Event(timestamp=slot)))
    assert await soon(lambda: [*tmp_path.glob("outbox/*.json")], 10)


@pytest.mark.usefixtures("alone")
async def test_an_event_that_is_not_the_next_to_be_sent_is_on_the_disk_at_once(outbox: Outbox) -> None:
    settings = WorkerSettings.load({})
    slot = settings.cron.previous(datetime.now(UTC))
    worker = Pipeline(settings, connected(settings), None, outbox)
    worker._gaps.clear()
    await worker._make([slot])
    assert outbox._list() == []
    await worker._make([settings.cron.next(slot)])
    assert outbox._list() == [slot, settings.cron.next(slot)]


@pytest.mark.usefixtures("alone")
async def test_while_nats_is_away_an_event_is_on_the_disk_at_once(outbox: Outbox) -> None:
    settings = WorkerSettings.load({})
    slot = settings.cron.previous(datetime.now(UTC))
    await Pipeline(settings, Bus(settings, "test"), None, outbox)._make([slot])
    assert outbox._list() == [slot]


async def test_a_slot_that_does_not_follow_the_last_one_is_a_gap_to_look_into(outbox: Outbox) -> None:
    settings = WorkerSettings.load({"SCHEDULE": "* * * * * *"})
    taking = Pipeline(settings, Bus(settings, "test"), None, outbox)
    noon, second = datetime(2023, 11, 21, 12, tzinfo=UTC), timedelta(seconds=1)
    taking._last, taking._gaps = noon, []
    # In turn, after a suspend of a day, in turn, and again after the clock was set back.
    for slot in (noon + second, noon + DAY, noon + DAY + second, noon + 5 * second, noon + 6 * second):
        taking._take(slot)
    assert taking._gaps == [noon + second]


async def test_the_slot_after_its_beginning_is_no_gap(outbox: Outbox) -> None:
    settings = WorkerSettings.load({"SCHEDULE": "* * * * * *"})
    begin = datetime(2023, 11, 21, 12, 0, 0, 999999, tzinfo=UTC)
    pipeline = Pipeline(settings, Bus(settings, "test"), None, outbox, begin=begin)
    pipeline._gaps = []
    pipeline._take(datetime(2023, 11, 21, 12, 0, 1, tzinfo=UTC))
    assert pipeline._gaps == []


async def test_a_slot_that_is_due_before_it_runs_is_taken(outbox: Outbox) -> None:
    settings = WorkerSettings.load({})
    pipeline = Pipeline(settings, Bus(settings, "test"), None, outbox)
    pipeline.hand(settings.cron.next(datetime.now(UTC)))
    assert await asyncio.wait_for(pipeline._slots.get(), 5)
