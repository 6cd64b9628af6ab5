"""What becomes of a slot when the worker is stopped in the middle of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from crypto_updates.bus.client import Bus
from crypto_updates.bus.event import Event, Quote, encode
from worker.config import WorkerSettings
from worker.outbox import Outbox, Waiting
from worker.pipeline import Pipeline
from worker.turn import Turns


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


@pytest.mark.parametrize("is_first", [True, False], ids=["its turn first", "standing in"])
async def test_a_worker_that_is_stopped_while_it_asks_leaves_an_event_only_where_no_other_may_be_asking(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch, *, is_first: bool
) -> None:
    async def first(_: Turns, __: datetime) -> bool:
        return is_first

    async def later(_: Turns, __: datetime) -> bool:
        return True

    monkeypatch.setattr(Turns, "first", first)
    monkeypatch.setattr(Turns, "later", later)
    settings, market = WorkerSettings.load({}), Slow()
    slot = settings.cron.previous(datetime.now(UTC))
    work = asyncio.create_task(Pipeline(settings, settings.cron, Bus(settings, "test"), market, outbox)._make(slot))
    await asyncio.wait_for(market.asked.wait(), 5)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert outbox.oldest() == (Waiting(slot, encode(Event(timestamp=slot))) if is_first else None)
