"""What the worker makes of slots that passed without it: after a start, a suspend, and behind other people's events."""

import asyncio
import signal
import time
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from stack import ports
from stack.process import Process
from tests.e2e.conftest import Stack, eventually, gaps, soon

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
    assert gaps(stack.slots(), 1) == []


async def test_other_peoples_events_do_not_hide_the_newest_of_the_feed(stack: Stack, publisher: Client) -> None:
    await asyncio.to_thread(stack.api_stub)
    worker = stack.worker()
    assert await soon(lambda: len(stack.slots()) >= 2)
    await asyncio.to_thread(worker.stop)
    last, count = max(stack.slots()), len(stack.slots())
    for _ in range(1500):
        await publisher.publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"2020-01-01T00:00:00Z"}')
    await publisher.flush()
    assert not await soon(lambda: False, 3)  # the outage itself
    worker = stack.worker(MISSED_SLOTS="all")
    line = await asyncio.to_thread(worker.wait_for_line, MISSED, 20)
    assert f"from {last + timedelta(seconds=1):%H:%M:%S}" in line
    assert await soon(lambda: len([s for s in stack.slots() if s.year > 2020]) > count + 3)
    assert gaps(sorted(s for s in stack.slots() if s.year > 2020), 1) == []


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
