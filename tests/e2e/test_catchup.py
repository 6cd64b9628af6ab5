"""What the worker makes of slots that passed without it: after a start, a suspend, and behind other people's events."""

import asyncio
import signal
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import nats
import pytest
from nats.aio.client import Client

from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from tests.e2e.conftest import Stack, gaps, publish_raw
from tests.support import asking, eventually, settled, soon

MISSED = "[CRON] Missed schedules"


def suspend(worker: Process, seconds: float) -> None:
    """As a laptop's lid does it, but for the clocks: those of a suspended machine stand still or go on."""
    worker.kill(signal.SIGSTOP)
    eventually(lambda: False, seconds)
    worker.kill(signal.SIGCONT)


def told(worker: Process, text: str) -> list[str]:
    return [line for line in worker.lines if text in line]


@pytest.mark.parametrize("policy", ["all", "none"])
def test_after_a_suspend_the_policy_decides(stack: Stack, policy: str) -> None:
    stack.api_stub()
    worker = stack.worker(MISSED_SLOTS=policy)
    assert eventually(lambda: len(stack.slots()) >= 2)
    suspend(worker, 4)
    resumed = datetime.now(UTC)
    assert eventually(lambda: max(stack.slots()) > resumed + timedelta(seconds=2))
    assert len(told(worker, MISSED)) == 1
    assert bool(gaps(stack.slots(), 1)) == (policy == "none")


def test_what_another_worker_published_in_the_meantime_was_not_missed(stack: Stack) -> None:
    stack.api_stub()
    first, second = (stack.worker(MISSED_SLOTS="all") for _ in range(2))
    assert eventually(lambda: len(stack.slots()) >= 2)
    suspend(first, 4)
    resumed = datetime.now(UTC)
    assert eventually(lambda: max(stack.slots()) > resumed + timedelta(seconds=2))
    assert second.status is None
    assert not told(first, MISSED)
    assert eventually(lambda: gaps(stack.slots(), 1) == [])


async def test_other_peoples_events_do_not_hide_the_newest_of_the_feed(stack: Stack, publisher: Client) -> None:
    await asyncio.to_thread(stack.api_stub)
    worker = stack.worker(MISSED_SLOTS="all")
    assert await soon(lambda: len(stack.slots()) >= 2)
    await asyncio.to_thread(worker.stop)
    last, count = max(stack.slots()), len(stack.slots())
    for _ in range(1500):
        await publisher.publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"2020-01-01T00:00:00Z"}')
    await settled(publisher)
    assert not await soon(lambda: False, 3)  # the outage itself
    worker = stack.worker(MISSED_SLOTS="all")
    line = await asyncio.to_thread(worker.wait_for_line, MISSED, 20)
    assert f"from {last + timedelta(seconds=1):%H:%M:%S}" in line
    assert await soon(lambda: len([s for s in stack.slots() if s.year > 2020]) > count + 3)
    assert await soon(lambda: gaps(sorted(s for s in stack.slots() if s.year > 2020), 1) == [])


def test_what_waits_for_nats_is_counted_survives_a_kill_and_is_delivered_in_order(stack: Stack) -> None:
    stack.api_stub()
    health = ports.free()
    environ = {"HEALTH_PORT": str(health), "MISSED_SLOTS": "all"}

    def waiting() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{health}/metrics", timeout=2) as answer:
            lines = answer.read().decode().splitlines()
        return float(next(line for line in lines if line.startswith("crypto_outbox_events ")).split()[1])

    worker = stack.worker(**environ)
    assert eventually(lambda: len(stack.slots()) >= 2)
    stack.nats.stop()
    assert eventually(lambda: waiting() >= 4)
    worker.kill()
    worker.wait()
    stack.nats.start()
    begin = time.monotonic()
    second = stack.worker(**environ)
    second.wait_for_line("[OUTBOX] Events of an earlier run that wait for NATS: ")
    second.wait_for_line("[PUBLISH]")
    assert eventually(lambda: waiting() == 0, 20)
    sent = [line.split()[-1] for line in told(second, "[PUBLISH]")]
    assert sent == sorted(sent)
    assert eventually(lambda: len(stack.slots()) >= 10 and not gaps(stack.slots(), 1))
    assert time.monotonic() - begin < 20
    assert all(event["data"] for event in stack.events.find())


async def outage(stack: Stack) -> datetime:
    """A worker's life, and some slots without it. Returns the last slot of that life."""
    await asyncio.to_thread(stack.api_stub)
    worker = stack.worker()
    assert await soon(lambda: len(stack.slots()) >= 2)
    await asyncio.to_thread(worker.stop)
    last = max(stack.slots())
    assert not await soon(lambda: False, 3)
    return last


async def is_made_up_for(stack: Stack, worker: Process, last: datetime) -> bool:
    line = await asyncio.to_thread(worker.wait_for_line, MISSED, 25)
    assert f"from {last + timedelta(seconds=1):%H:%M:%S}" in line
    return await soon(lambda: len(own := [slot for slot in stack.slots() if slot >= last]) > 5 and not gaps(own, 1))


async def test_hostile_and_large_messages_of_others_do_not_stop_a_start(stack: Stack, publisher: Client) -> None:
    last = await outage(stack)
    await publish_raw(stack.nats, b"Nats-Msg-Id: crypto@\xff\xfe", b"{}")
    for _ in range(130):
        await publisher.publish("crypto.updates", b"x" * 500_000)
        await settled(publisher)
    assert await is_made_up_for(stack, stack.worker(MISSED_SLOTS="all"), last)


async def test_slots_published_by_hand_do_not_hide_an_outage(stack: Stack) -> None:
    last = await outage(stack)
    for day in range(25):
        event = b'{"event":"CRYPTO_UPDATE","timestamp":"2020-01-%02dT00:00:00Z"}' % (day + 1)
        client = await nats.connect(stack.nats.url)
        await client.publish("crypto.updates", event, headers={"Nats-Msg-Id": f"crypto@2020-01-{day + 1:02}T00:00:00Z"})
        await client.close()
    assert await is_made_up_for(stack, stack.worker(MISSED_SLOTS="all"), last)


async def test_a_server_that_freezes_while_it_is_asked_does_not_hide_an_outage(stack: Stack) -> None:
    last = await outage(stack)
    worker = stack.worker(MISSED_SLOTS="all")
    await asyncio.to_thread(worker.wait_for_line, "[NATS] Connected", 20)
    stack.nats.kill(signal.SIGSTOP)
    assert not await soon(lambda: False, 5.6)  # more than the patience for an answer
    stack.nats.kill(signal.SIGCONT)
    assert await is_made_up_for(stack, worker, last)


async def test_a_worker_stopped_before_it_has_caught_up_hides_no_outage(stack: Stack) -> None:
    last = await outage(stack)

    with Market(delay=None) as market:
        stopped = stack.worker(MISSED_SLOTS="all", **asking(market))
        await asyncio.to_thread(stopped.wait_for_line, "[NATS] Connected", 20)
        assert await asyncio.to_thread(stopped.stop) == 0
        assert not told(stopped, "[PUBLISH] Sent") or told(stopped, MISSED)
    assert await soon(lambda: not gaps([slot for slot in stack.slots() if slot >= last], 1))
    worker = stack.worker(MISSED_SLOTS="all")
    assert await soon(lambda: bool(told(worker, "[PUBLISH]")))
    assert await soon(lambda: len(own := [slot for slot in stack.slots() if slot >= last]) > 6 and not gaps(own, 1))
