"""Of several workers one makes a slot, so that everybody hears its event once; if that one dies, another makes it."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from crypto_updates.bus import claims, event
from crypto_updates.bus.event import MSG_ID
from crypto_updates.clock.cron import Cron
from crypto_updates.harness.market import Market
from crypto_updates.local.process import Process
from crypto_updates.local.servers import NatsServer
from tests.e2e.conftest import Stack
from tests.support import asked, asking, connect, just_passed, settled, soon

# Of the twenty seconds: ten for the market, a third of them until it is another worker's turn.
EVERY = "*/20 * * * * *"
MAX_STALLED = 3
RIGHTS = '{publish: {deny: ["crypto.claims"]}}'


@pytest.fixture
def market() -> Iterator[Market]:
    with Market(0.5) as market:
        yield market


async def claim(publisher: Client, slot: datetime) -> None:
    await publisher.jetstream().publish(claims.SUBJECT, headers={MSG_ID: event.identity("crypto", slot)})


@pytest.fixture
async def heard(stack: Stack) -> AsyncIterator[list[str]]:
    """The ids that a plain core NATS subscriber has heard."""
    client, ids = await connect(stack.nats.url), list[str]()

    async def hear(message: Msg) -> None:
        ids.append((message.headers or {})[MSG_ID])

    await client.subscribe("crypto.updates", cb=hear)
    await settled(client)
    yield ids
    await client.close()


async def bodies(publisher: Client) -> dict[str, dict[str, object]]:
    """The stream's events by their slots; more than one for a slot is an error."""
    js = publisher.jetstream()
    last = (await js.stream_info("CRYPTO")).state.last_seq
    found = [json.loads((await js.get_msg("CRYPTO", number)).data or b"") for number in range(1, last + 1)]
    assert max(Counter(body["timestamp"] for body in found).values(), default=0) <= 1
    return {body["timestamp"]: body for body in found}


async def ready(workers: Iterable[Process]) -> datetime:
    """The next slot, three seconds away at least, once each worker is through with an earlier one."""
    for worker in workers:
        await asyncio.to_thread(worker.wait_for_line, re.compile(r"\[PUBLISH\]|\[TURN\] Another worker"), 30)
    return Cron(EVERY).next(datetime.now(UTC) + timedelta(seconds=3))


async def until(slot: datetime) -> float:
    """Return two seconds before the slot, with the time from which on a request is of this slot, as the market reads
    the clock. Who wakes late still counts each request.
    """
    await asyncio.sleep((slot - datetime.now(UTC)).total_seconds() - 2)
    return time.monotonic() + (slot - datetime.now(UTC)).total_seconds() - 1


def asked_since(market: Market, begin: float) -> list[str]:
    """The workers that asked CoinGecko from then on."""
    earlier = sum(request.at < begin for request in market.requests if request.path.endswith("/coins/markets"))
    return asked(market)[earlier:]


async def test_several_workers_ask_the_market_once_for_a_slot(stack: Stack, publisher: Client, market: Market) -> None:
    market.delay = 0.2  # far from the 3.3 seconds that the others wait
    workers = [stack.worker(SCHEDULE=EVERY, **asking(market, f"w{number}")) for number in range(4)]
    slot = await ready(workers)
    begin = await until(slot)
    hour = slot.strftime("%H:%M:%S")
    said = re.compile(
        rf"(Sent crypto.update event at {hour}|Another worker has sent the crypto.update event of .*{hour}Z)"
    )
    for worker in workers:
        await asyncio.to_thread(worker.wait_for_line, said)
    assert "data" in (await bodies(publisher))[event.text(slot)]
    assert len(asked_since(market, begin)) == 1


async def test_a_worker_that_is_killed_while_it_asks_costs_no_slot(
    stack: Stack, publisher: Client, market: Market
) -> None:
    workers = {name: stack.worker(SCHEDULE=EVERY, **asking(market, name)) for name in ("one", "two")}
    slot = await ready(workers.values())
    begin = await until(slot)
    market.delay = None
    assert await soon(lambda: asked_since(market, begin) != [])
    first = asked_since(market, begin)[0]
    workers.pop(first).kill()
    market.delay = 0
    assert await soon(lambda: len(asked_since(market, begin)) > 1)
    (second,) = workers
    assert asked_since(market, begin) == [first, second]
    await asyncio.to_thread(workers[second].wait_for_line, f"Sent crypto.update event at {slot:%H:%M:%S}")
    assert "data" in (await bodies(publisher))[event.text(slot)]


async def test_a_slot_whose_claimant_is_gone_is_made_after_a_third_of_the_time(
    stack: Stack, publisher: Client, market: Market
) -> None:
    worker = stack.worker(SCHEDULE=EVERY, **asking(market, "last"))
    slot = await ready([worker])
    await claim(publisher, slot)
    begin = await until(slot)
    told = f"[TURN] No event of {event.text(slot)} after 3.3 s from the worker that claimed it"
    await asyncio.to_thread(worker.wait_for_line, told)
    await asyncio.to_thread(worker.wait_for_line, f"Sent crypto.update event at {slot:%H:%M:%S}")
    assert asked_since(market, begin) == ["last"]
    assert "data" in (await bodies(publisher))[event.text(slot)]


def stalled(workers: Iterable[Process]) -> set[str]:
    """The ids that a worker waited for in vain, because the machine was too busy for a slot every two seconds."""
    said = re.compile(r"(?:\[TURN\] No event of |\[NATS\] Claim of crypto@)(\S+Z)")
    return {f"crypto@{found[1]}" for worker in workers for line in worker.lines if (found := said.search(line))}


@pytest.fixture
async def triggered(stack: Stack) -> AsyncIterator[list[str]]:
    """The ids of the events whose bodies a subscriber on crypto.update has heard, without a reply subject."""
    client, ids = await connect(stack.nats.url), list[str]()

    async def hear(message: Msg) -> None:
        assert not message.reply
        ids.append(f"crypto@{json.loads(message.data)['timestamp']}")

    await client.subscribe("crypto.update", cb=hear)
    await settled(client)
    yield ids
    await client.close()


@pytest.mark.parametrize(("source", "slots"), [("none", 10), ("simulated", 4)])
async def test_plain_subscribers_hear_each_event_of_two_workers_and_its_trigger_once(
    stack: Stack, heard: list[str], triggered: list[str], source: str, slots: int
) -> None:
    own = {
        "MARKET_SOURCE": source,
        "SCHEDULE": "*/2 * * * * *",
        "LOG_LEVEL": "debug",
        "TRIGGER_SUBJECT": "crypto.update",
    }
    workers = [stack.worker(OUTBOX_DIR=f"outbox-{name}", **own) for name in ("one", "two")]
    await ready(workers)
    first = event.identity("crypto", datetime.now(UTC) + timedelta(seconds=1))

    def counted() -> Counter[str]:
        """The ids from then on, each with how often it was heard."""
        late = stalled(workers)
        return Counter(identity for identity in heard if identity > first and identity not in late)

    assert await soon(lambda: len(counted()) >= slots, 45)
    # Whoever publishes a second copy logs such a line first, so more than a few are the failure itself.
    assert len([identity for identity in stalled(workers) if identity > first]) <= MAX_STALLED
    last = max(counted())
    assert [identity for identity, count in counted().items() if count > 1] == []
    # The trigger is sent for what the stream has taken, so each event has one, a moment later.
    events = sorted({identity for identity in heard if first < identity <= last})
    assert await soon(lambda: sorted(identity for identity in triggered if first < identity <= last) == events, 10)
    for worker in workers:
        worker.kill()  # without NATS, it would take its time to stop


async def test_a_slot_that_another_worker_catches_up_with_is_heard_once(
    stack: Stack, publisher: Client, heard: list[str]
) -> None:
    slot = Cron("@yearly").previous(datetime.now(UTC))
    identity = event.identity("crypto", slot)
    await publisher.jetstream().add_stream(claims.stream_config(1))
    await claim(publisher, slot)
    claimed = await publisher.subscribe(claims.SUBJECT)
    await settled(publisher)
    worker = stack.worker(SCHEDULE="@yearly", MARKET_SOURCE="none")
    assert ((await claimed.next_msg(30)).header or {})[MSG_ID] == identity
    body = event.encode(event.Event(timestamp=slot))
    await publisher.jetstream().publish(event.SUBJECT, body, headers={MSG_ID: identity})
    line = await asyncio.to_thread(worker.wait_for_line, re.compile(r"\[TURN\]|\[PUBLISH\]"), 30)
    assert line == f"[TURN] Another worker has sent the crypto.update event of {event.text(slot)}"
    assert await asyncio.to_thread(worker.stop) == 0
    assert heard == [identity]


@pytest.mark.parametrize("way", ["core NATS", "no permission"])
async def test_when_nats_cannot_tell_who_claimed_a_slot_each_worker_makes_it(
    stack: Stack, market: Market, way: str
) -> None:
    users = f"{{user: admin, password: a}}, {{user: worker, password: p, permissions: {RIGHTS}}}"
    config = "" if way == "core NATS" else f"authorization {{ users: [{users}] }}"
    with NatsServer(config=config, jetstream=way != "core NATS") as server:
        own = {"NATS_URL": server.url, "SCHEDULE": just_passed()} | (
            {"DELIVERY": "core"} if way == "core NATS" else {"NATS_USER": "worker", "NATS_PASSWORD": "p"}
        )
        if way != "core NATS":
            admin = await connect(server.url, user="admin", password="a")
            await admin.jetstream().add_stream(claims.stream_config(1))
            await admin.close()
        market.delay = None
        workers = [stack.worker(**own, **asking(market, name)) for name in ("one", "two")]
        assert await soon(lambda: len(asked(market)) >= 2)
        market.delay = 0
        for worker in workers:
            await asyncio.to_thread(worker.wait_for_line, "[PUBLISH]", 30)
        assert sorted(asked(market)) == ["one", "two"]
