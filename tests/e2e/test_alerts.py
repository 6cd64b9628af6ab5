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

from crypto_updates.harness import coingecko
from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from crypto_updates.local.servers import Mongod
from tests.e2e.conftest import Stack, Standalone, publish_raw
from tests.prometheus import FOLDER, Prometheus, program, rules
from tests.support import asking, soon

NAMES = {rule["alert"] for rule in rules()}
# A minute of the rules, in seconds. While a server does not answer, neither does a scrape, for two seconds.
MINUTE, SCRAPE, PATIENT_SCRAPE = 0.3, 1.0, 3.0


class Watched:
    """A stack with an event a second, and the Prometheus that watches it."""

    def __init__(self, stack: Stack, market: Market, own: Mongod | None, standalone: Callable[[], Standalone]) -> None:
        self.stack = stack
        self.market = market
        self.mongod = own
        self.standalone = standalone
        self.http, self.health = ports.free(), ports.free()
        self.closing = ExitStack()
        self.worker = stack.worker(HEALTH_PORT=str(self.health), **asking(market))
        self.closing.callback(self.worker.kill)  # it would take its time to deliver its last events
        self.start_api_stub(**({"MONGO_URL": own.url} if own else {}))
        targets = {"worker": [f"127.0.0.1:{self.health}"], "api_stub": [f"127.0.0.1:{self.http}"]}
        scrape = PATIENT_SCRAPE if own else SCRAPE
        self.prometheus = self.closing.enter_context(Prometheus(targets, MINUTE, scrape))

    def start_api_stub(self, **environ: str) -> None:
        self.api_stub = self.stack.api_stub(HTTP_PORT=str(self.http), **environ)
        self.closing.callback(self.api_stub.kill)
        self.api_stub.wait_for_line("[HTTP] Listening")

    def is_well(self, alerts: set[str]) -> bool:
        """Whether events are stored, and none of these alerts fires or is about to."""
        stored = self.prometheus.values('max(crypto_slots{state="stored"})')
        found = self.prometheus.alerts("pending") | self.prometheus.alerts("firing")
        return bool(stored and stored[0] and not found & alerts)


async def kill_worker(watched: Watched) -> None:
    watched.worker.kill()


async def kill_nats(watched: Watched) -> None:
    watched.stack.nats.kill()


async def freeze_api_stub(watched: Watched) -> None:
    watched.api_stub.kill(signal.SIGSTOP)


async def send_nonsense(watched: Watched) -> None:
    await publish_raw(watched.stack.nats, b"", b"no event")


async def freeze_listing(watched: Watched) -> None:
    query = {"ids": "bitcoin", "vs_currency": "usd"}
    _, quotes = coingecko.answer(["coins", "markets"], query, {}, datetime.now(UTC) - timedelta(days=2))
    watched.market.body = json.dumps(quotes).encode()


async def kill_mongod_under_a_listener(watched: Watched) -> None:
    assert watched.mongod
    url = f"http://127.0.0.1:{watched.http}/events/stream"
    watched.closing.enter_context(httpx.stream("GET", url, timeout=30, trust_env=False))
    assert await soon(lambda: watched.prometheus.values("max(crypto_stream_open)") == [1])
    watched.mongod.kill()


async def use_mongod_without_a_replica_set(watched: Watched) -> None:
    watched.api_stub.stop()
    watched.start_api_stub(MONGO_URL=watched.standalone().url)


class Fault(NamedTuple):
    happen: Callable[[Watched], Awaitable[None]]
    fires: set[str]


FAULTS = (
    Fault(kill_worker, {"WorkerDown", "SlotMissing"}),
    Fault(kill_nats, {"OutboxFilling", "ApiStubDeaf"}),
    Fault(freeze_api_stub, {"ApiStubDeaf"}),
    Fault(send_nonsense, {"DeadLetters"}),
    Fault(freeze_listing, {"StaleQuotes"}),
    Fault(kill_mongod_under_a_listener, {"NoLiveStream", "ApiStubDeaf"}),
    Fault(use_mongod_without_a_replica_set, {"Degraded"}),
)


@pytest.fixture
def watched(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Watched]:
    fault: Fault = request.getfixturevalue("fault")
    with ExitStack() as closing:
        own = closing.enter_context(Mongod()) if fault.happen is kill_mongod_under_a_listener else None
        market = closing.enter_context(Market())
        watched = Watched(stack, market, own, lambda: request.getfixturevalue("standalone"))
        closing.enter_context(watched.closing)
        yield watched


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.happen.__name__)
async def test_a_fault_fires_its_alerts(fault: Fault, watched: Watched) -> None:
    assert await soon(lambda: watched.is_well(fault.fires)), watched.prometheus.query("ALERTS")
    await fault.happen(watched)
    assert await soon(lambda: fault.fires <= watched.prometheus.alerts()), watched.prometheus.query("ALERTS")


def test_each_alert_has_a_fault_that_fires_it() -> None:
    assert set[str]().union(*(fault.fires for fault in FAULTS)) == NAMES


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
