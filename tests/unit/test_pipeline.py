"""What becomes of a slot when the worker is stopped in the middle of it."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crypto_updates.bus.client import Bus
from crypto_updates.bus.event import Event, Quote, encode
from worker import pipeline, turn
from worker.config import WorkerSettings
from worker.market import MarketError
from worker.outbox import Outbox, Waiting
from worker.pipeline import Pipeline

DAY = timedelta(days=1)


class Slow:
    """A market that does not answer."""

    name = "slow"
    knows_past = True

    def __init__(self) -> None:
        self.asked = asyncio.Event()

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


class Down(Slow):
    """A market that fails after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.budgets: list[float] = []
        self._seconds = seconds

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:  # noqa: ARG002 - a market's interface
        self.budgets.append(budget)
        await asyncio.sleep(self._seconds)
        raise MarketError("down")


async def test_a_market_that_is_down_holds_up_a_catch_up_only_for_a_while(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "PATIENCE_SECONDS", 0.25)
    settings, market = WorkerSettings.load({}), Down(0.1)
    caught_up = Pipeline(settings, Bus(settings, "test"), market, outbox)
    slots = [datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in range(20)]
    assert [await caught_up._fetch(slot) for slot in slots] == [Event(timestamp=slot) for slot in slots]
    assert len(market.budgets) == 3
    assert market.budgets == sorted(market.budgets, reverse=True)
    assert market.budgets[0] <= 0.25


async def test_a_past_slot_is_not_asked_of_a_market_that_knows_only_the_present(outbox: Outbox) -> None:
    settings, market = WorkerSettings.load({}), Down(0)
    market.knows_past = False
    slot = datetime(2026, 1, 1, tzinfo=UTC)
    assert await Pipeline(settings, Bus(settings, "test"), market, outbox)._fetch(slot) == Event(timestamp=slot)
    assert market.budgets == []


async def test_a_slot_that_does_not_follow_the_last_one_is_a_gap_to_look_into(outbox: Outbox) -> None:
    settings = WorkerSettings.load({"SCHEDULE": "* * * * * *"})
    taking = Pipeline(settings, Bus(settings, "test"), None, outbox)
    noon, second = datetime(2023, 11, 21, 12, tzinfo=UTC), timedelta(seconds=1)
    taking._last, taking._gaps = noon, []
    # In turn, after a suspend of a day, in turn, and again after the clock was set back.
    for slot in (noon + second, noon + DAY, noon + DAY + second, noon + 5 * second, noon + 6 * second):
        taking._take(slot)
    assert taking._gaps == [noon + second]
