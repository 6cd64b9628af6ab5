"""The trigger: one plain message for servers that wait on another subject, once for what the stream took as new."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.bus import connection, event
from crypto_updates.bus.client import Bus
from crypto_updates.bus.event import MSG_ID, Event
from crypto_updates.clock.slots import Gap
from crypto_updates.harness.link import Link
from crypto_updates.local.servers import NatsServer
from stack.check import repair
from stack.check.repair import RepairSettings
from stack.check.target import Database
from tests.e2e.conftest import Stack
from tests.support import connect, settled, soon
from worker import tick
from worker.config import WorkerSettings
from worker.market.simulated import Simulated

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
BARE = event.encode(Event(timestamp=SLOT))
WORDS = b'{"trigger":"update"}'
Heard = Callable[[], Awaitable[list[bytes]]]
SAID = {"TRIGGER_SUBJECT": "crypto.update", "TRIGGER_BODY": WORDS.decode()}


async def taken(client: Client, subscription: Subscription) -> list[Msg]:
    """What has come until now: what the server has, it sends ahead of its answer to a PING."""
    await settled(client)
    return [await subscription.next_msg() for _ in range(subscription.pending_msgs)]


async def heard(client: Client, subscription: Subscription) -> list[bytes]:
    """The bodies of what has come until now. Nothing of it has headers, or asks for a reply."""
    messages = await taken(client, subscription)
    assert [message for message in messages if message.reply or message.headers] == []
    return [message.data for message in messages]


@pytest.fixture
async def triggers(publisher: Client) -> Heard:
    """What has come on crypto.update since the last call."""
    subscription = await publisher.subscribe("crypto.update")
    await settled(publisher)
    return partial(heard, publisher, subscription)


async def publish(url: str, **own: str) -> bool:
    """Publish the slot's event as a worker does. True if the stream took it as new."""
    settings = WorkerSettings.load({"NATS_URL": url, "MARKET_SOURCE": "none", **own})
    async with Bus(settings, "worker") as bus:
        (receipt,) = await asyncio.wait_for(tick.publish(SLOT, BARE, settings, bus), 20)
    return not receipt.duplicate


@pytest.mark.parametrize("delivery", ["jetstream", "core"])
@pytest.mark.parametrize(("own", "body"), [(SAID, WORDS), ({"TRIGGER_SUBJECT": "crypto.update"}, BARE)])
async def test_a_server_on_another_subject_hears_the_words_or_the_events_own_body(
    stack: Stack, triggers: Heard, delivery: str, own: dict[str, str], body: bytes
) -> None:
    assert await publish(stack.nats.url, DELIVERY=delivery, **own)
    assert await triggers() == [body]


async def test_an_event_that_the_stream_has_already_triggers_nothing(stack: Stack, triggers: Heard) -> None:
    assert await publish(stack.nats.url)
    assert not await publish(stack.nats.url, **SAID)
    assert await triggers() == []


async def test_an_event_by_hand_has_its_trigger_and_the_log_names_both_subjects(stack: Stack, triggers: Heard) -> None:
    worker = stack.worker("--once", "--slot", event.text(SLOT), MARKET_SOURCE="none", **SAID)
    assert await asyncio.to_thread(worker.wait, 20) == 0
    worker.wait_for_line(
        re.compile("^.PUBLISH. Sent crypto.update event at 14:30:00 on crypto.updates and crypto.update$")
    )
    assert await triggers() == [WORDS]


@pytest.mark.parametrize("is_own", [True, False], ids=["its own", "another worker's"])
async def test_a_retry_sends_the_trigger_only_if_the_event_in_the_stream_is_its_own(
    stack: Stack,
    publisher: Client,
    triggers: Heard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    is_own: bool,
) -> None:
    if not is_own:
        await publish(stack.nats.url)
    monkeypatch.setattr(connection, "REPLY_SECONDS", 1.0)
    with Link(stack.nats.port) as link:
        settings = WorkerSettings.load({"NATS_URL": f"nats://127.0.0.1:{link.port}", **SAID})
        async with Bus(settings, "worker") as bus:
            await bus.connection(10)
            link.drop_replies()
            publishing = asyncio.create_task(tick.publish(SLOT, BARE, settings, bus))
            assert await soon(lambda: "[PUBLISH] NATS did not acknowledge the event" in caplog.text, 10)
            link.heal()
            (receipt,) = await asyncio.wait_for(publishing, 20)
    assert receipt.duplicate is not is_own
    assert await triggers() == ([WORDS] if is_own else [])
    assert (await publisher.jetstream().stream_info("CRYPTO")).state.messages == 1


async def split() -> bytes:
    """The body of an event that goes in parts where `max_payload` is 4096."""
    coins = tuple(f"coin-{n}" for n in range(40))
    return event.encode(await tick.make(SLOT, Simulated(coins=coins, currency="usd"), 1))


async def test_the_words_go_out_once_for_an_event_in_parts_and_its_own_body_part_by_part() -> None:
    body = await split()
    with NatsServer(config="max_payload: 4096\n") as server:
        client = await connect(server.url)
        events, triggers = [await client.subscribe(subject) for subject in ("crypto.updates", "crypto.update")]
        await settled(client)
        for number, own in enumerate((SAID, {"TRIGGER_SUBJECT": "crypto.update"})):
            settings = WorkerSettings.load({"NATS_URL": server.url, "FEED": f"feed{number}", **own})
            async with Bus(settings, "worker") as bus:
                await tick.publish(SLOT, body, settings, bus)
            parts = [message.data for message in await taken(client, events)]
            assert len(parts) > 1
            assert await heard(client, triggers) == ([WORDS] if number == 0 else parts)
        await client.close()


@pytest.mark.parametrize(("other", "words"), [(0, [WORDS]), (-1, [])], ids=["the first part", "the last part"])
async def test_of_an_event_whose_part_another_worker_has_sent_only_the_new_parts_trigger(
    other: int, words: list[bytes]
) -> None:
    body = await split()
    with NatsServer(config="max_payload: 4096\n") as server:
        client = await connect(server.url)
        triggers = await client.subscribe("crypto.update")
        await settled(client)
        for feed, own in (("words", SAID), ("bodies", {"TRIGGER_SUBJECT": "crypto.update"})):
            settings = WorkerSettings.load({"NATS_URL": server.url, "FEED": feed, **own})
            async with Bus(settings, "worker") as bus:
                max_payload = (await bus.connection(10)).nc.max_payload
                parts = tick.messages(SLOT, body, feed, max_payload)
                identity, part = parts[other]
                await client.jetstream().publish("crypto.updates", part, headers={MSG_ID: identity})
                await tick.publish(SLOT, body, settings, bus)
            new = [part for name, part in parts if name != identity]
            assert await heard(client, triggers) == (words if feed == "words" else new)
        await client.close()


async def test_a_trigger_that_is_not_permitted_is_told_and_costs_no_event(caplog: pytest.LogCaptureFixture) -> None:
    users = '{user: worker, password: p, permissions: {publish: {deny: ["crypto.update"]}}}'
    with NatsServer(config=f"authorization {{ users: [{users}] }}") as server:
        own = {"NATS_URL": server.url, "NATS_USER": "worker", "NATS_PASSWORD": "p", **SAID}
        settings = WorkerSettings.load(own)
        async with Bus(settings, "worker") as bus:
            (receipt,) = await asyncio.wait_for(tick.publish(SLOT, BARE, settings, bus), 10)
            assert not receipt.duplicate
            assert bus.refusal == "the user may not publish on crypto.update: verify NATS_USER and its rights"
    assert f"({bus.refusal})" in caplog.text


async def test_a_repaired_slot_has_its_trigger(stack: Stack, triggers: Heard) -> None:
    last = SLOT + timedelta(minutes=30)
    own = {"NATS_URL": stack.nats.url, "MARKET_SOURCE": "simulated", "COINS": "bitcoin"}
    settings = RepairSettings.load(own | SAID)
    async with Reader(settings.mongo_url, "none") as reader, Store(settings.mongo_url, "none") as store:
        done = await repair.run(settings, [Gap(SLOT, last, 3)], Database(reader, store), lambda _: None)
    assert len(done.published) == 3
    assert await triggers() == [WORDS] * 3
