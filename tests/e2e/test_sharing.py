"""Several API stubs on one stream, or in one queue group; and the rate that holds one back."""

import asyncio
import statistics
from itertools import pairwise

import pytest
from nats.aio.client import Client

from crypto_updates.local.process import Process
from tests.e2e.conftest import Stack
from tests.support import settled, soon

COUNT = 3000
# Not what `all_take_part` publishes.
COUNTED = {"_id": {"$regex": "^test@"}}


def body(number: int) -> bytes:
    minute, second = divmod(number, 60)
    return b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T%02d:%02d:%02dZ"}' % (*divmod(minute, 60), second)


async def publish(publisher: Client, count: int, feed: str = "test") -> None:
    for number in range(count):
        await publisher.publish("crypto.updates", body(number), headers={"Nats-Msg-Id": f"{feed}@{number}"})
    await settled(publisher)


async def all_take_part(publisher: Client, stubs: list[Process]) -> bool:
    """Publish until each of them has stored something; what is published before the first one listens may be lost."""
    for number in range(100):
        await publish(publisher, 150, f"probe{number}")
        if await soon(lambda: all(any("[EVENT] Stored" in line for line in stub.lines) for stub in stubs), 0.3):
            return True
    return False


@pytest.mark.timeout(120)
@pytest.mark.parametrize("delivery", ["jetstream", "core"])
async def test_three_api_stubs_store_each_event_once_and_all_take_part(
    stack: Stack, publisher: Client, delivery: str
) -> None:
    stubs = [stack.api_stub(DELIVERY=delivery, BATCH_SIZE="50") for _ in range(3)]
    assert await all_take_part(publisher, stubs)
    await publish(publisher, COUNT)
    assert await soon(lambda: stack.events.count_documents(COUNTED) >= COUNT, 60)
    assert stack.events.count_documents(COUNTED) == COUNT
    assert stack.dead_letters.count_documents({}) == 0


@pytest.mark.timeout(120)
async def test_a_rate_holds_an_api_stub_and_the_backlog_waits_in_the_stream(stack: Stack, publisher: Client) -> None:
    stack.api_stub(MAX_EVENTS_PER_SECOND="100")
    await publish(publisher, 2 * COUNT)
    assert await soon(lambda: stack.events.count_documents({}) >= COUNT / 3)
    count = {"$group": {"_id": "$received_at", "events": {"$sum": 1}}}
    batches = list(stack.events.aggregate([count, {"$sort": {"_id": 1}}]))
    # The median, because a machine that stands still for a moment makes one batch late and the next one early.
    rate = statistics.median(
        batch["events"] / (following["_id"] - batch["_id"]).total_seconds() for batch, following in pairwise(batches)
    )
    assert 80 <= rate <= 110
    whole = sum(batch["events"] for batch in batches[:-1]) / (batches[-1]["_id"] - batches[0]["_id"]).total_seconds()
    assert whole <= 110
    consumer = await publisher.jetstream().consumer_info("CRYPTO", "api_stub")
    assert consumer.num_pending is not None
    assert consumer.num_pending > COUNT / 2


@pytest.mark.timeout(120)
async def test_a_core_api_stub_that_is_told_to_stop_stores_what_it_was_sent(stack: Stack, publisher: Client) -> None:
    stubs = [stack.api_stub(DELIVERY="core") for _ in range(2)]
    assert await all_take_part(publisher, stubs)
    publishing = asyncio.create_task(publish(publisher, COUNT))
    assert await soon(lambda: stack.events.count_documents(COUNTED) > 0)
    assert await asyncio.to_thread(stubs[0].stop) == 0
    await publishing
    assert await soon(lambda: stack.events.count_documents(COUNTED) >= COUNT, 30)
    assert stack.events.count_documents(COUNTED) == COUNT
    assert stack.dead_letters.count_documents({}) == 0
