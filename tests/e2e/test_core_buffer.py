"""What core NATS sends while nobody stores is kept in a bounded buffer; what does not fit is counted and told."""

import asyncio
import signal

import pytest
from nats.aio.client import Client

from crypto_updates.bus import consumer
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.consumer import CORE_EVENTS, Consumer
from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness import monitor
from crypto_updates.local.servers import NatsServer
from tests.e2e.conftest import Stack
from tests.e2e.test_metrics import Scraped
from tests.support import HANG_SECONDS, connect, settled, soon

DROPPING, DROPPED = "there is no room for more", "events of core NATS were dropped"


async def listening(bus: Bus, taking: Consumer, client: Client) -> None:
    """Return when the consumer's subscription stands, with nothing in its buffer."""
    connection = await bus.connection(HANG_SECONDS)
    while True:
        await client.publish(SUBJECT, b"probe")
        try:
            await asyncio.wait_for(taking.take(), 0.2)
        except TimeoutError:
            continue
        await settled(client)
        await settled(connection.nc)
        taking.rest(100)
        return


async def publish(bus: Bus, taking: Consumer, client: Client, count: int, body: bytes = b"{}") -> None:
    for _ in range(count):
        await client.publish(SUBJECT, body)
    await settled(client)
    # What the server has sent before its answer has been received,
    await settled((await bus.connection(HANG_SECONDS)).nc)
    for subscription in taking._subscriptions:
        await subscription._pending_queue.join()  # and has reached the consumer.


@pytest.mark.parametrize(
    ("events", "room", "body"), [(10, 1_000_000, b"{}"), (1_000_000, 1000, b"x" * 98)], ids=["count", "bytes"]
)
async def test_what_is_dropped_is_counted_and_told_once_when_it_begins_and_once_when_it_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, events: int, room: int, body: bytes
) -> None:
    monkeypatch.setattr(consumer, "CORE_EVENTS", events)
    monkeypatch.setattr(consumer, "CORE_BYTES", room)
    dropped: list[None] = []
    with NatsServer(jetstream=False) as server:
        client = await connect(server.url)
        async with (
            Bus(BusSettings.load({"NATS_URL": server.url}), "test") as bus,
            Consumer(bus, 4, lambda: dropped.append(None)) as taking,
        ):
            await listening(bus, taking, client)
            await publish(bus, taking, client, 15, body)
            assert len(dropped) == 5
            assert len(await taking.take()) == 4
            await publish(bus, taking, client, 1, body)  # more than half of the buffer is still in use
            assert (len(dropped), caplog.text.count(DROPPING), caplog.text.count(DROPPED)) == (6, 1, 0)
            assert len(taking.rest(100)) == 6
            await publish(bus, taking, client, 1, body)
            assert len(taking.rest(100)) == 1
            assert (caplog.text.count(DROPPING), f"6 {DROPPED}" in caplog.text) == (1, True)
        await client.close()


async def test_what_was_received_can_be_taken_after_a_stop_that_a_frozen_server_does_not_answer() -> None:
    with NatsServer(jetstream=False) as server:
        client = await connect(server.url)
        async with Bus(BusSettings.load({"NATS_URL": server.url}), "test") as bus, Consumer(bus, 4) as taking:
            await listening(bus, taking, client)
            await publish(bus, taking, client, 3)
            server.kill(signal.SIGSTOP)
            taken = []

            async def run() -> None:
                try:
                    await asyncio.Event().wait()
                finally:
                    await taking.stop()
                    taken.extend(taking.rest(100))

            running = asyncio.create_task(run())
            await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])
            server.kill(signal.SIGCONT)
            assert len(taken) == 3
        await client.close()


@pytest.mark.timeout(120)
async def test_an_api_stub_without_mongodb_counts_what_core_nats_sends_beyond_its_buffer(
    stack: Stack, publisher: Client
) -> None:
    stub = Scraped(stack, DELIVERY="core", MONGO_URL="mongodb://127.0.0.1:1", BATCH_SIZE="1")
    # What is published before the subscription stands is lost.
    assert await soon(lambda: monitor.subscriptions(stack.nats, SUBJECT))
    extra = 1000
    for _ in range(CORE_EVENTS + extra):
        await publisher.publish(SUBJECT, b"{}")
    await settled(publisher)
    line = await asyncio.to_thread(stub.process.wait_for_line, DROPPING, 30)
    assert "verify that MongoDB is running" in line

    # Two batches of one event each are in hand.
    assert await soon(lambda: stub.scrape()["crypto_core_dropped_total"] == extra - 2)
    assert await asyncio.to_thread(stub.process.stop) == 0
    assert stub.process.wait_for_line(DROPPED)
    told = stub.process.wait_for_line("could not be stored before the stop and are lost")
    # The two batches in hand, and the buffer.
    assert f"{CORE_EVENTS + 2} events of core NATS" in told
