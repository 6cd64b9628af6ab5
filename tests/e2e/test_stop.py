"""How services end: on SIGTERM with 0 within 10 s, whatever the servers and the clients do; else with a reason."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from nats.aio.client import Client

from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod
from tests.e2e.conftest import Stack
from tests.support import HANG_SECONDS, asked, asking, eventually, settled, soon

STOP_SECONDS = 10.0


@pytest.fixture
def own_mongod() -> Iterator[Mongod]:
    with Mongod() as server:
        yield server


def seconds_to_stop(process: Process) -> float:
    begin = time.monotonic()
    process.kill(signal.SIGTERM)
    status = process.wait()
    seconds = time.monotonic() - begin
    assert status == 0, "\n".join(process.lines)
    return seconds


@contextlib.asynccontextmanager
async def visitors(url: str) -> AsyncIterator[None]:
    """An open event stream, and people who ask again as soon as they have an answer."""
    async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as client:

        async def visit(path: str) -> None:
            with contextlib.suppress(httpx.TransportError):
                while True:
                    await client.get(path)

        async with client.stream("GET", "/events/stream"):
            tasks = [asyncio.create_task(visit(path)) for path in ("/events", "/stats?coin=bitcoin", "/slots")]
            yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize("frozen", [("nats", "mongod"), ("nats",), ("mongod",), ()], ids=" and ".join)
async def test_an_api_stub_stops_in_time_when_servers_are_frozen(
    frozen: tuple[str, ...], stack: Stack, own_mongod: Mongod, publisher: Client
) -> None:
    """With batches in hand and more received, and with requests under way."""
    assert stack.run("stack", "provision", MONGO_URL=own_mongod.url).wait() == 0
    port = str(ports.free())
    stub = stack.api_stub(MONGO_URL=own_mongod.url, HTTP_PORT=port, BATCH_SIZE="1")
    await publisher.publish("crypto.updates", b"{}")
    await asyncio.to_thread(stub.wait_for_line, "moved to dead_letters")
    async with visitors(f"http://127.0.0.1:{port}"):
        if "mongod" in frozen:
            own_mongod.kill(signal.SIGSTOP)
        js = publisher.jetstream()
        for _ in range(9):
            await publisher.publish("crypto.updates", b"{}")
        await settled(publisher)
        if "mongod" in frozen:
            # Two batches are in hand, and two events have been received.
            async with asyncio.timeout(HANG_SECONDS):
                while (await js.consumer_info("CRYPTO", "api_stub")).num_ack_pending != 4:  # noqa: ASYNC110 - NATS says it only when asked
                    await asyncio.sleep(0.05)
        if "nats" in frozen:
            stack.nats.kill(signal.SIGSTOP)
        assert await asyncio.to_thread(seconds_to_stop, stub) < STOP_SECONDS


async def test_a_worker_stops_in_time_when_nats_is_frozen(stack: Stack) -> None:
    """With a fetch under way, and events in the outbox."""
    with Market() as market:
        worker = stack.worker(**asking(market), SCHEDULE="*/2 * * * * *")
        worker.wait_for_line("[PUBLISH] Sent")
        stack.nats.kill(signal.SIGSTOP)
        before = len(asked(market))
        market.delay = None
        assert await soon(lambda: len(asked(market)) > before)
        assert await asyncio.to_thread(seconds_to_stop, worker) < STOP_SECONDS


# The scheduler's thread ends as soon as it has started.
BROKEN = """
import runpy
from worker import scheduler
scheduler.Scheduler.run = lambda self: None
runpy.run_module("worker", run_name="__main__")
"""


def test_a_worker_without_a_scheduler_says_so_and_ends_for_its_supervisor(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "broken_worker.py").write_text(BROKEN, encoding="utf-8")
    port = str(ports.free())
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    worker = stack.run("broken_worker", HEALTH_PORT=port, PYTHONPATH=path)
    worker.wait_for_line("[NATS] Connected")
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=HANG_SECONDS, trust_env=False) as client:

        def unready() -> tuple[int, list[str]]:
            answer = client.get("/readyz")
            return answer.status_code, answer.json().get("reasons")

        assert eventually(lambda: unready() == (503, ["the scheduler's thread has ended"]))
        assert client.get("/livez").status_code == 200
    assert worker.wait() == 1
    worker.wait_for_line("[CRON] the scheduler's thread has ended: ending, so that the worker is started again (error)")


def test_a_worker_that_cannot_listen_names_the_variables(stack: Stack) -> None:
    worker = stack.worker(HEALTH_HOST="192.0.2.1", HEALTH_PORT="8081")
    assert worker.wait() == 2
    assert worker.lines[-1].startswith("HEALTH_HOST=192.0.2.1 HEALTH_PORT=8081: ")


def test_a_worker_answers_on_ipv6(stack: Stack) -> None:
    port = str(ports.free())
    stack.worker(HEALTH_HOST="::1", HEALTH_PORT=port).wait_for_line("[PUBLISH] Sent")
    url = f"http://[::1]:{port}/readyz"
    assert eventually(lambda: httpx.head(url, timeout=HANG_SECONDS, trust_env=False).status_code == 200)
