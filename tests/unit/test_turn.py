"""How long a worker waits for NATS before it makes a slot."""

import asyncio
from datetime import UTC, datetime

import pytest

from crypto_updates.bus import claims
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import Connection
from crypto_updates.local import ports
from tests.support import soon
from worker import turn
from worker.config import WorkerSettings

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _long_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds, a third of what a slot of `*/15` has."""
    monkeypatch.setattr(turn, "MAX_CLAIM_SECONDS", 60.0)


async def test_with_nats_down_a_slot_is_made_without_a_wait() -> None:
    settings = WorkerSettings.load({"NATS_URL": f"nats://127.0.0.1:{ports.free()}"})
    async with Bus(settings, "test") as bus, asyncio.timeout(5):
        assert await soon(lambda: not bus.is_starting, 4)
        assert await turn.claim(bus, settings, SLOT)


async def test_a_worker_that_has_just_started_waits_for_nats_to_claim_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    async def claim(*_: object) -> bool:
        return False

    monkeypatch.setattr(claims, "claim", claim)
    settings = WorkerSettings.load({})
    bus = Bus(settings, "test")
    work = asyncio.create_task(turn.claim(bus, settings, SLOT))
    await asyncio.sleep(0)  # the claim now waits for a connection
    bus._serve(Connection("nats://127.0.0.1:4222"))
    assert not await asyncio.wait_for(work, 5)
