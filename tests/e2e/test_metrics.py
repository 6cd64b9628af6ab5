"""/metrics of the API stub, as Prometheus would scrape it."""

import json
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from nats.aio.client import Client
from nats.js.errors import NotFoundError
from prometheus_client.parser import text_string_to_metric_families

from crypto_updates.bus.event import identity, text
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from tests.e2e.conftest import Stack
from tests.support import HANG_SECONDS, eventually, settled, soon


class Scraped:
    """An API stub, and its figures by name."""

    def __init__(self, stack: Stack, **environ: str) -> None:
        port = str(ports.free())
        self._url = f"http://127.0.0.1:{port}/metrics"
        self.process: Process = stack.run("api_stub", HTTP_PORT=port, **environ)
        self.process.wait_for_line("[HTTP] Listening")

    def scrape(self) -> dict[str, float]:
        answer = httpx.get(self._url, timeout=HANG_SECONDS, trust_env=False)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        families = text_string_to_metric_families(answer.text)
        return {sample.name: sample.value for family in families for sample in family.samples if not sample.labels}

    def seconds(self) -> float:
        """What an answer takes: each takes that long, and one of them not longer, whatever else the machine does."""
        taken = []
        for _ in range(3):
            begin = time.monotonic()
            self.scrape()
            taken.append(time.monotonic() - begin)
        return min(taken)

    def becomes(self, name: str, value: float) -> bool:
        return eventually(lambda: self.scrape().get(name) == value)


@pytest.fixture
def own_mongod() -> Iterator[Mongod]:
    with Mongod() as server:
        yield server


def event(slot: datetime) -> bytes:
    return json.dumps({"event": "CRYPTO_UPDATE", "timestamp": text(slot)}).encode()


def key(feed: str, slot: datetime) -> dict[str, str]:
    return {"Nats-Msg-Id": identity(feed, slot)}


async def test_it_counts_events_duplicates_and_dead_letters(stack: Stack, publisher: Client) -> None:
    stub = Scraped(stack)
    stub.process.wait_for_line("[NATS] Connected")
    slot = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=90)
    stack.events.insert_one({"_id": "there", "timestamp": slot})
    future = datetime(2999, 1, 1, tzinfo=UTC)
    for at in (slot, slot + timedelta(seconds=2), future):
        await publisher.publish("crypto.updates", event(at), headers=key("crypto", at))
    await publisher.publish("crypto.updates", event(slot), headers={"Nats-Msg-Id": "there"})
    # Another feed's slot is newer, and not FEED's.
    await publisher.publish("crypto.updates", event(slot + timedelta(seconds=9)), headers=key("other", slot))
    await publisher.publish("crypto.updates", b"no event")
    await settled(publisher)
    # Two batches may be stored at once, and each is counted when it is stored.
    for name, number in (("dead_letters", 1), ("events_duplicate", 1), ("events_stored", 4)):
        assert await soon(lambda: stub.becomes(f"crypto_{name}_total", number))  # noqa: B023 - called at once
    found = stub.scrape()
    assert found["crypto_events_stored_total"] == found["crypto_slot_lag_seconds_count"] == 4
    assert found["crypto_events_duplicate_total"] == 1
    assert found["crypto_redeliveries_total"] == 0
    assert found["crypto_dead_letters_stored"] == 1
    assert found["crypto_last_stored_slot_timestamp_seconds"] == (slot + timedelta(seconds=2)).timestamp()
    assert 259 < found["crypto_slot_lag_seconds_sum"] < 400
    assert found["process_resident_memory_bytes"] > 1e6


async def test_it_counts_what_was_delivered_before(stack: Stack, publisher: Client) -> None:
    assert stack.run("stack", "provision").wait() == 0
    js = publisher.jetstream()
    # Time enough for the API stub to tell of it before it has them all.
    await js.add_consumer("CRYPTO", (await js.consumer_info("CRYPTO", "api_stub")).config.evolve(ack_wait=20))
    for number in range(3):
        await js.publish("crypto.updates", event(datetime(2023, 11, 21, 14, number, tzinfo=UTC)))
    subscription = await js.pull_subscribe_bind("api_stub", "CRYPTO")
    one, two, _ = await subscription.fetch(3)
    await one.nak()
    await two.nak()
    await subscription.fetch(1)  # one of the two; like the third, it comes again after the ack wait
    stub = Scraped(stack)
    assert await soon(lambda: stub.becomes("crypto_consumer_redelivered", 1))
    assert await soon(lambda: stub.becomes("crypto_redeliveries_total", 3))
    assert stub.scrape()["crypto_events_stored_total"] == 3


async def test_it_asks_nats_what_waits(stack: Stack, publisher: Client) -> None:
    stub = Scraped(stack, BATCH_SIZE="1", MAX_EVENTS_PER_SECOND="0.01")
    stub.process.wait_for_line("[NATS] Connected")
    for number in range(9):
        await publisher.publish("crypto.updates", event(datetime(2023, 11, 21, 14, number, tzinfo=UTC)))
    await settled(publisher)
    # One is stored. Some of the other eight are in hand, the rest waits.
    assert await soon(lambda: stub.becomes("crypto_events_stored_total", 1))
    names = ("crypto_consumer_pending", "crypto_consumer_ack_pending")

    def told() -> bool:
        found = stub.scrape()
        waiting, in_hand = (found.get(name, 0) for name in names)
        return waiting > 0 and in_hand > 0 and waiting + in_hand == 8

    assert await soon(told)


async def test_without_servers_the_scrape_is_answered_all_the_same(stack: Stack) -> None:
    stub = Scraped(stack, NATS_URL=f"nats://127.0.0.1:{ports.free()}", MONGO_URL=f"mongodb://127.0.0.1:{ports.free()}")
    found = stub.scrape()
    assert stub.seconds() < 3
    assert found["crypto_events_stored_total"] == 0
    assert not [name for name in found if name.startswith("crypto_consumer")]
    assert not found.keys() & {"crypto_dead_letters_stored", "crypto_last_stored_slot_timestamp_seconds"}


async def test_with_frozen_servers_it_is_in_time_and_knows_the_last_slot(
    stack: Stack, publisher: Client, own_mongod: Mongod
) -> None:
    assert stack.run("stack", "provision", MONGO_URL=own_mongod.url).wait() == 0
    stub = Scraped(stack, MONGO_URL=own_mongod.url)
    stub.process.wait_for_line("[NATS] Connected")
    slot = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
    await publisher.publish("crypto.updates", event(slot), headers=key("crypto", slot))
    await settled(publisher)
    assert await soon(lambda: stub.becomes("crypto_last_stored_slot_timestamp_seconds", slot.timestamp()))
    own_mongod.kill(signal.SIGSTOP)
    stack.nats.kill(signal.SIGSTOP)
    found = stub.scrape()
    assert stub.seconds() < 3
    assert found["crypto_last_stored_slot_timestamp_seconds"] == slot.timestamp()
    assert "crypto_dead_letters_stored" not in found
    assert "crypto_consumer_pending" not in found
    own_mongod.kill(signal.SIGCONT)
    stack.nats.kill(signal.SIGCONT)
    assert await soon(lambda: {"crypto_dead_letters_stored", "crypto_consumer_pending"} <= stub.scrape().keys(), 20)
    assert stub.process.status is None


async def test_without_a_consumer_or_without_jetstream_there_is_nothing_to_tell(
    stack: Stack, publisher: Client
) -> None:
    stub = Scraped(stack)
    stub.process.wait_for_line("[NATS] Consumer api_stub created")
    js = publisher.jetstream()
    await js.delete_consumer("CRYPTO", "api_stub")
    with pytest.raises(NotFoundError):
        await js.consumer_info("CRYPTO", "api_stub")
    assert "crypto_consumer_pending" not in stub.scrape()
    assert await soon(lambda: "crypto_consumer_pending" in stub.scrape(), 20)
    with NatsServer(jetstream=False) as server:
        stub = Scraped(stack, NATS_URL=server.url)
        stub.process.wait_for_line("[NATS] Connected")
        assert "crypto_consumer_pending" not in stub.scrape()
