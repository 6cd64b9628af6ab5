"""Each alert: its unit tests by promtool, and the real fault that fires it in a real Prometheus."""

import json
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import httpx
import pytest
import yaml

from crypto_updates.bus.stream import DURABLE, STREAM
from crypto_updates.harness import coingecko
from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from tests.e2e.conftest import STEADY, Stack, Standalone, publish_raw
from tests.prometheus import FOLDER, Prometheus, program, rules
from tests.support import HANG_SECONDS, asking, connect, soon

NAMES = {rule["alert"] for rule in rules()}
# A minute of the rules, in seconds. While MongoDB does not answer, neither does a scrape, for two seconds.
MINUTE, SCRAPE, PATIENT_SCRAPE = 0.3, 1.0, 3.0
PAUSE = f"$JS.API.CONSUMER.PAUSE.{STREAM}.{DURABLE}"


class Watched:
    """A stack with an event a second, and the Prometheus that watches it."""

    def __init__(self, stack: Stack, market: Market, standalone: Standalone) -> None:
        self.stack = stack
        self.market = market
        self.standalone = standalone
        self.http, self.health = ports.free(), ports.free()
        self.closing = ExitStack()
        self.worker = stack.worker(HEALTH_PORT=str(self.health), **STEADY, **asking(market))
        self.closing.callback(self.worker.kill)  # it would take its time to deliver its last events
        self.start_api_stub()
        self.watch(SCRAPE)

    def watch(self, scrape: float) -> None:
        """Begin with a new Prometheus, which scrapes so often."""
        targets = {"worker": [f"127.0.0.1:{self.health}"], "api_stub": [f"127.0.0.1:{self.http}"]}
        self.prometheus = self.closing.enter_context(Prometheus(targets, MINUTE, scrape))

    def start_api_stub(self, **environ: str) -> None:
        self.api_stub = self.stack.run("api_stub", HTTP_PORT=str(self.http), **environ)
        self.closing.callback(self.api_stub.kill)
        self.api_stub.wait_for_line("[HTTP] Listening")

    def is_well(self) -> bool:
        """Whether events are stored, and no alert fires or is about to."""
        stored = self.prometheus.values('max(crypto_slots{state="stored"})')
        return bool(stored and stored[0] and not self.alerts())

    def alerts(self) -> set[str]:
        """Those that fire or are about to."""
        return self.prometheus.alerts("pending") | self.prometheus.alerts()

    def told(self) -> object:
        return self.prometheus.query("ALERTS")


async def send_nonsense(watched: Watched) -> None:
    await publish_raw(watched.stack.nats, b"", b"no event")


async def freeze_listing_and_pause_consumer(watched: Watched) -> None:
    query = {"ids": "bitcoin", "vs_currency": "usd"}
    _, quotes = coingecko.answer(["coins", "markets"], query, {}, datetime.now(UTC) - timedelta(days=2))
    watched.market.body = json.dumps(quotes).encode()
    client = await connect(watched.stack.nats.url)
    until = datetime.now(UTC) + timedelta(days=1)
    answer = await client.request(PAUSE, json.dumps({"pause_until": until.isoformat()}).encode(), HANG_SECONDS)
    assert json.loads(answer.data)["paused"]
    await client.close()


async def kill_nats(watched: Watched) -> None:
    watched.stack.nats.kill()


async def kill_worker(watched: Watched) -> None:
    watched.worker.kill()


async def freeze_api_stub(watched: Watched) -> None:
    watched.api_stub.kill(signal.SIGSTOP)


async def use_mongod_without_a_replica_set(watched: Watched) -> None:
    watched.api_stub.kill()
    watched.start_api_stub(MONGO_URL=watched.standalone.url)


async def kill_mongod_under_a_listener(watched: Watched) -> None:
    watched.watch(PATIENT_SCRAPE)
    url = f"http://127.0.0.1:{watched.http}/events/stream"
    watched.closing.enter_context(httpx.stream("GET", url, timeout=30, trust_env=False))
    assert await soon(lambda: watched.prometheus.values("max(crypto_stream_open)") == [1])
    watched.standalone.kill()


class Fault(NamedTuple):
    happen: Callable[[Watched], Awaitable[None]]
    fires: set[str]


# One after the other in the same stack, where none hides the next one.
FAULTS = (
    Fault(send_nonsense, {"DeadLetters"}),
    # At once, because the alert of the listing waits for 30 minutes.
    Fault(freeze_listing_and_pause_consumer, {"StaleQuotes", "ApiStubDeaf", "SlotMissing"}),
    Fault(kill_nats, {"ApiStubDeaf nats", "OutboxFilling", "Degraded nats"}),
    Fault(kill_worker, {"WorkerDown", "Degraded worker"}),
    Fault(freeze_api_stub, {"ApiStubDeaf api_stub", "Degraded api_stub"}),
    Fault(use_mongod_without_a_replica_set, {"Degraded mongo"}),
    Fault(kill_mongod_under_a_listener, {"ApiStubDeaf mongo", "NoLiveStream"}),
)


@pytest.fixture
def watched(stack: Stack) -> Iterator[Watched]:
    with Market() as market, Standalone() as standalone:
        watched = Watched(stack, market, standalone)
        with watched.closing:
            yield watched


@pytest.mark.timeout(600)  # a deadline for each of the faults, and for the stack
async def test_each_fault_fires_its_alerts(watched: Watched) -> None:
    assert await soon(watched.is_well), watched.told()
    for fault in FAULTS:
        # An event on its way is in the outbox for a moment, and its alert may be about to fire then.
        assert await soon(lambda: not watched.alerts() & fault.fires), (fault, watched.told())  # noqa: B023 - it is awaited
        await fault.happen(watched)
        assert await soon(lambda: fault.fires <= watched.prometheus.alerts()), (fault, watched.told())  # noqa: B023 - it is awaited


def test_each_alert_has_a_fault_that_fires_it() -> None:
    assert {alert.partition(" ")[0] for fault in FAULTS for alert in fault.fires} == NAMES


def promtool(*arguments: str) -> None:
    done = subprocess.run([program("promtool"), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_unit_tests_of_the_alerts_pass() -> None:
    promtool("test", "rules", "alerts.test.yaml")


def test_prometheus_takes_the_configuration() -> None:
    promtool("check", "config", "prometheus.yaml")


def test_each_alert_has_unit_tests_that_it_fires_and_that_it_does_not() -> None:
    tests: list[dict[str, Any]] = yaml.safe_load((FOLDER / "alerts.test.yaml").read_text(encoding="utf-8"))["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    for fires in (True, False):
        assert {check["alertname"] for check in checks if bool(check.get("exp_alerts")) is fires} == NAMES
    assert all(rule["annotations"].keys() == {"summary", "action"} for rule in rules())
