"""A worker killed at any point between its claim of a slot and the acknowledgement costs no slot, no data, no copy."""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from nats.js import JetStreamContext

from crypto_updates.bus import event
from crypto_updates.bus.stream import STREAM
from crypto_updates.clock.cron import Cron
from crypto_updates.local import ports, programs
from crypto_updates.local.process import Process
from crypto_updates.local.servers import NatsServer
from tests.chaos import client, mortal
from tests.support import eventually

EVERY_SECOND = "* * * * * *"
Start = Callable[..., Process]


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def start(server: NatsServer, tmp_path: Path) -> Iterator[Start]:
    running: list[Process] = []

    def start(program: str, outbox: str, **own: str) -> Process:
        environ = {"NATS_URL": server.url, "SCHEDULE": EVERY_SECOND, "MARKET_SOURCE": "simulated"}
        environ |= {"MISSED_SLOTS": "all", "OUTBOX_DIR": outbox, "HEALTH_PORT": str(ports.free())}
        running.append(programs.start(program, environ=os.environ | environ | own, cwd=tmp_path))
        return running[-1]

    yield start
    for process in running:
        process.stop()


async def bodies(js: JetStreamContext) -> list[dict[str, Any]]:
    last = (await js.stream_info(STREAM)).state.last_seq
    return [json.loads((await js.get_msg(STREAM, number)).data or b"") for number in range(1, last + 1)]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("point", mortal.POINTS)
def test_a_worker_killed_between_its_claim_and_the_acknowledgement_costs_nothing(
    point: str, server: NatsServer, start: Start, tmp_path: Path
) -> None:
    start("worker", "other").wait_for_line("[PUBLISH]")
    begun = datetime.now(UTC)
    assert start("tests.chaos.mortal", "own", KILL_AT=point).wait(60) == -signal.SIGKILL
    start("worker", "own").wait_for_line("[NATS] Connected")
    due = list(Cron(EVERY_SECOND).between(begun, datetime.now(UTC) + timedelta(seconds=2)))
    expected = {event.text(slot) for slot in due}

    def found() -> list[dict[str, Any]]:
        return [body for body in client.ask([server.url], bodies) or () if body["timestamp"] in expected]

    assert eventually(lambda: {body["timestamp"] for body in found()} == expected)
    assert set(Counter(body["timestamp"] for body in found()).values()) == {1}
    assert all(body.get("data") for body in found())
    assert eventually(lambda: not list(tmp_path.glob("*/*.json")))
