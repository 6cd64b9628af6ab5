"""What the worker makes of slots that passed without it: after a start, a suspend, and behind other people's events."""

import asyncio
import re
import signal
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from crypto_updates.bus.stream import DURABLE
from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from tests.e2e.conftest import Stack, gaps, publish_raw
from tests.support import HANG_SECONDS, asking, connect, drained, eventually, settled, soon

MISSED = "[CRON] Missed schedules"


def suspend(worker: Process, seconds: float) -> datetime:
    """As a laptop's lid does it, but for the clocks: those of a suspended machine stand still or go on.

    Returns a time in the middle. (A busy machine makes suspends of its own.)
    """
    worker.kill(signal.SIGSTOP)
    middle = datetime.now(UTC) + timedelta(seconds=seconds / 2)
    eventually(lambda: False, seconds)
    worker.kill(signal.SIGCONT)
    return middle


def span(line: str, near: datetime) -> list[datetime]:
    """The first and the last slot that the line tells as missed; it has their dates where these differ."""
    (times,) = re.findall("from (.+) to (.+);", line)
    return [datetime.fromisoformat(f"{time if '-' in time else f'{near:%Y-%m-%d} {time}'}+00:00") for time in times]


def told_missed(worker: Process, slot: datetime) -> list[str]:
    spans = {line: span(line, slot) for line in told(worker, MISSED)}
    return [line for line, (first, last) in spans.items() if first <= slot <= last]


def told(worker: Process, text: str) -> list[str]:
    return [line for line in worker.lines if text in line]


@pytest.mark.parametrize("policy", ["all", "none"])
def test_after_a_suspend_the_policy_decides(stack: Stack, policy: str) -> None:
    stack.api_stub()
    worker = stack.worker(MISSED_SLOTS=policy)
    assert eventually(lambda: len(stack.slots()) >= 2)
    middle = suspend(worker, 4)
    resumed = datetime.now(UTC)
    assert eventually(lambda: max(stack.slots()) > resumed + timedelta(seconds=2))
    assert len(told_missed(worker, middle)) == 1
    assert eventually(lambda: bool(gaps(stack.slots(), 1)) == (policy == "none"))


def test_what_another_worker_published_in_the_meantime_was_not_missed(stack: Stack) -> None:
    stack.api_stub()
    first, second = (stack.worker(MISSED_SLOTS="all") for _ in range(2))
    assert eventually(lambda: len(stack.slots()) >= 2)
    middle = suspend(first, 4)
    resumed = datetime.now(UTC)
    assert eventually(lambda: max(stack.slots()) > resumed + timedelta(seconds=2))
    assert second.status is None
    assert not told_missed(first, middle)
    assert eventually(lambda: gaps(stack.slots(), 1) == [])


async def test_other_peoples_events_do_not_hide_the_newest_of_the_feed(stack: Stack, publisher: Client) -> None:
    await asyncio.to_thread(stack.api_stub)
    worker = stack.worker(MISSED_SLOTS="all")
    assert await soon(lambda: len(stack.slots()) >= 2)
    await asyncio.to_thread(worker.stop)
    await drained(publisher.jetstream(), DURABLE, HANG_SECONDS)
    last, count = max(stack.slots()), len(stack.slots())
    for _ in range(1500):
        await publisher.publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"2020-01-01T00:00:00Z"}')
    await settled(publisher)
    assert not await soon(lambda: False, 3)  # the outage itself
    worker = stack.worker(MISSED_SLOTS="all")
    line = await asyncio.to_thread(worker.wait_for_line, MISSED, 20)
    assert span(line, last)[0] == last + timedelta(seconds=1)
    assert await soon(lambda: len([s for s in stack.slots() if s.year > 2020]) > count + 3)
    assert await soon(lambda: gaps(sorted(s for s in stack.slots() if s.year > 2020), 1) == [])


def test_what_waits_for_nats_is_counted_survives_a_kill_and_is_delivered_in_order(stack: Stack) -> None:
    stack.api_stub()
    health = ports.free()
    environ = {"HEALTH_PORT": str(health), "MISSED_SLOTS": "all"}

    def waiting() -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{health}/metrics", timeout=HANG_SECONDS) as answer:
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
    assert eventually(lambda: len(stack.slots()) >= 10 and not gaps(stack.slots(), 1))
    assert time.monotonic() - begin < 20
    sent = [event["timestamp"] for event in stack.events.find(sort=[("stream_seq", 1)])]
    assert sent == sorted(sent)
    assert all(event["data"] for event in stack.events.find())


async def outage(stack: Stack) -> datetime:
    """A worker's life, and some slots without it. Returns the last slot of that life."""
    await asyncio.to_thread(stack.api_stub)
    worker = stack.worker()
    assert await soon(lambda: len(stack.slots()) >= 2)
    await asyncio.to_thread(worker.stop)
    client = await connect(stack.nats.url)
    await drained(client.jetstream(), DURABLE, HANG_SECONDS)
    await client.close()
    last = max(stack.slots())
    assert not await soon(lambda: False, 3)
    return last


async def is_made_up_for(stack: Stack, worker: Process, last: datetime) -> bool:
    line = await asyncio.to_thread(worker.wait_for_line, MISSED, 25)
    assert span(line, last)[0] == last + timedelta(seconds=1)
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
        client = await connect(stack.nats.url)
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
