"""An event's trace: in its headers, in MongoDB and in the logs; and the spans of both services for a collector."""

import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nats.aio.client import Client
from nats.js.api import RawStreamMsg

from crypto_updates.bus import trace
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import NatsServer
from tests.collector import Collector, Seen, collecting
from tests.e2e.conftest import Stack
from tests.support import HANG_SECONDS, connect, eventually, soon

# Runs another program, which then has time to export its spans at the stop. By itself it gives up after a second.
PATIENT = f"""
import runpy, sys
from crypto_updates.bus import otel
otel.FLUSH_SECONDS = {HANG_SECONDS}
runpy.run_module(sys.argv.pop(1), run_name="__main__")
"""
SLOT = "2023-11-21T14:30:00Z"
ID = f"crypto@{SLOT}"
BARE = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'
JSON = {"LOG_FORMAT": "json", "MARKET_SOURCE": "none"}
ONCE = ("--once", "--slot", SLOT)
# No span is sent before the stop, unless somebody has set another delay.
ONLY_AT_THE_STOP = {"OTEL_BSP_SCHEDULE_DELAY": "600000"}


def logged(process: Process, message: str) -> dict[str, Any]:
    """The line of a log in JSON whose message has this text."""
    process.wait_for_line(message)
    entries = [json.loads(line) for line in process.lines if line.startswith("{")]
    found: dict[str, Any] = next(entry for entry in entries if message in entry["message"])
    return found


async def messages(url: str, count: int) -> list[RawStreamMsg]:
    client = await connect(url)
    found = [await client.jetstream().get_msg("CRYPTO", seq) for seq in range(1, count + 1)]
    await client.close()
    return found


def traceparent(message: RawStreamMsg) -> str | None:
    return trace.given(message.headers or {})


async def test_an_event_has_one_trace_on_its_whole_way_and_its_body_stays_as_it_is(stack: Stack) -> None:
    api = stack.api_stub(**JSON)
    worker = stack.worker(*ONCE, **JSON)
    assert worker.wait() == 0
    stored = await soon(lambda: stack.events.find_one({"_id": ID}))
    assert stored
    message = (await messages(stack.nats.url, 1))[0]
    assert message.data == BARE
    assert traceparent(message)
    assert stored["traceparent"] == traceparent(message)
    assert logged(worker, "[PUBLISH] Sent")["traceparent"] == traceparent(message)
    assert logged(api, f"[EVENT] Stored {ID}")["traceparent"] == traceparent(message)


async def test_a_second_workers_copy_is_a_duplicate_although_its_trace_is_another(stack: Stack) -> None:
    first, second = (stack.worker(*ONCE, **JSON) for _ in range(2))
    assert [first.wait(), second.wait()] == [0, 0]
    said = [logged(worker, "[PUBLISH]") for worker in (first, second)]
    assert sorted("already" in entry["message"] for entry in said) == [False, True]
    assert len({entry["traceparent"] for entry in said}) == 2
    sender = next(entry for entry in said if "already" not in entry["message"])
    client = await connect(stack.nats.url)
    assert (await client.jetstream().stream_info("CRYPTO")).state.messages == 1
    await client.close()
    assert [traceparent(message) for message in await messages(stack.nats.url, 1)] == [sender["traceparent"]]


async def test_an_event_that_waited_in_the_outbox_of_a_killed_worker_has_a_trace(stack: Stack, tmp_path: Path) -> None:
    port = ports.free()
    environ = {"NATS_URL": f"nats://127.0.0.1:{port}", "MARKET_SOURCE": "none"}
    worker = stack.worker(**environ)
    outbox = tmp_path / "outbox"
    assert await soon(lambda: len([*outbox.glob("*.json")]) >= 2)
    worker.kill(signal.SIGKILL)
    waiting = len([*outbox.glob("*.json")])
    with NatsServer(port=port) as server:
        stack.worker(**environ, SCHEDULE="@yearly", MISSED_SLOTS="none")
        assert await soon(lambda: not [*outbox.glob("*.json")])
        found = await messages(server.url, waiting)
    assert all(map(traceparent, found))
    assert len(set(map(traceparent, found))) == waiting


async def test_a_dead_letter_keeps_its_trace_and_the_replayed_event_has_it(
    stack: Stack, publisher: Client, tmp_path: Path
) -> None:
    api, given = stack.api_stub(**JSON), trace.fresh()
    await publisher.publish("crypto.updates", b"{}", headers={"Nats-Msg-Id": ID, "traceparent": given})
    letter = await soon(stack.dead_letters.find_one)
    assert letter
    assert letter["headers"]["traceparent"] == given
    assert logged(api, "moved to dead_letters")["traceparent"] == given
    (tmp_path / "body.json").write_bytes(BARE)
    replay = stack.run("stack", "dead-letters", "replay", letter["_id"], "--body", "body.json")
    assert replay.wait() == 0
    stored = stack.events.find_one({"_id": ID})
    assert stored
    assert stored["traceparent"] == given


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def patient(tmp_path: Path) -> dict[str, str]:
    """The variables with which `patient` is a program: PATIENT, whose first argument names the other program."""
    (tmp_path / "patient.py").write_text(PATIENT, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


def named(collector: Collector, name: str) -> list[Seen]:
    return [span for span in collector.spans if span.name == name]


async def test_both_services_make_spans_of_one_trace(
    stack: Stack, collector: Collector, publisher: Client, tmp_path: Path, patient: dict[str, str]
) -> None:
    (tmp_path / "endpoint").write_text(collector.endpoint)
    (tmp_path / "headers").write_text("key=word")
    (tmp_path / ".env").write_text("OTEL_RESOURCE_ATTRIBUTES=of=dotenv")
    spans = {"OTEL_EXPORTER_OTLP_ENDPOINT_FILE": "endpoint", "OTEL_EXPORTER_OTLP_HEADERS_FILE": "headers"}
    spans |= patient | ONLY_AT_THE_STOP
    api = stack.run("patient", "api_stub", **spans)
    api.wait_for_line("[NATS] Connected")
    assert stack.run("patient", "worker", *ONCE, **spans, MARKET_SOURCE="none").wait() == 0
    await publisher.publish("crypto.updates", b"{}", headers={"traceparent": trace.fresh()})
    assert await soon(lambda: stack.sum() == 2)
    assert api.stop(HANG_SECONDS) == 0
    published, processed, refused = (*named(collector, "publish crypto.updates"), *processed_in_order(collector))
    assert collector.headers["key"] == "word"
    assert (published.kind, published.parent, published.error) == ("PRODUCER", "", "")
    assert (processed.kind, processed.parent, processed.error) == ("CONSUMER", published.id, "")
    assert processed.trace == published.trace
    common = {
        "messaging.system": "nats",
        "messaging.destination.name": "crypto.updates",
        "messaging.message.id": ID,
        "messaging.message.body.size": len(BARE),
    }
    own = {"messaging.operation.name": "publish", "messaging.operation.type": "send"}
    assert published.attributes == common | own
    own = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
    assert processed.attributes == common | own | {"messaging.consumer.group.name": "api_stub"}
    assert [span.resource["service.name"] for span in (published, processed)] == ["worker", "api_stub"]
    assert {span.resource["service.namespace"] for span in (published, processed)} == {"crypto-updates"}
    assert {span.resource["of"] for span in (published, processed)} == {"dotenv"}
    assert "event: None is not CRYPTO_UPDATE" in refused.error
    stored = stack.events.find_one()
    assert stored
    assert stored["traceparent"].startswith(published.traceparent)


def processed_in_order(collector: Collector) -> list[Seen]:
    return sorted(named(collector, "process crypto.updates"), key=lambda span: span.error)


async def test_the_parts_of_an_event_are_one_span_and_have_one_trace(
    stack: Stack, collector: Collector, patient: dict[str, str]
) -> None:
    with NatsServer(config="max_payload: 4096\n") as server:
        coins = ",".join(f"coin-{n}" for n in range(40))
        spans = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.endpoint}/v1/traces", "OTEL_SERVICE_NAME": "mine"}
        environ = {"NATS_URL": server.url, "COINS": coins} | spans | patient
        assert stack.run("patient", "worker", *ONCE, **environ).wait() == 0
        client = await connect(server.url)
        count = (await client.jetstream().stream_info("CRYPTO")).state.messages
        await client.close()
        parts = await messages(server.url, count)
    (span,) = named(collector, "publish crypto.updates")
    assert count > 1
    assert span.attributes["messaging.batch.message_count"] == count
    assert span.resource["service.name"] == "mine"
    (one,) = set(map(traceparent, parts))
    assert one
    assert one.startswith(span.traceparent)


@pytest.mark.parametrize("answers", [False, True], ids=["no collector", "one that never answers"])
def test_a_collector_that_is_down_costs_no_event_and_no_stop(stack: Stack, *, answers: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1] if answers else ports.free()}"
        worker = stack.worker(*ONCE, MARKET_SOURCE="none", OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        worker.wait_for_line("[PUBLISH] Sent crypto.update event")
        begin = time.monotonic()
        assert worker.wait() == 0
        assert time.monotonic() - begin < 8  # OpenTelemetry itself would wait for ten seconds, or thirty
        api = stack.api_stub(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
        assert eventually(lambda: stack.sum() == 1)
        begin = time.monotonic()
        assert api.stop(15) == 0
        assert time.monotonic() - begin < 10


# What is imported, each module with its time: python -X importtime.
TOLD = {"PYTHONPROFILEIMPORTTIME": "1"}


def imported(process: Process) -> set[str]:
    """What of OpenTelemetry it has imported."""
    found = (re.search(r"\| +(opentelemetry[.\w]*)$", line) for line in process.lines)
    return {match[1] for match in found if match}


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SERVICE_NAME": "worker"},
    ],
    ids=["none", "disabled", "no exporter", "a name alone"],
)
def test_without_the_variables_nothing_is_imported(stack: Stack, environ: dict[str, str]) -> None:
    worker = stack.worker("--once", "--dry-run", MARKET_SOURCE="none", **environ, **TOLD)
    assert worker.wait() == 0
    assert worker.wait_for_line("traceparent: 00-")
    assert imported(worker) == set()


def test_with_a_variable_the_sdk_is_imported(stack: Stack) -> None:
    worker = stack.worker("--once", "--dry-run", MARKET_SOURCE="none", OTEL_TRACES_EXPORTER="otlp", **TOLD)
    assert worker.wait() == 0
    assert {"opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter"} <= imported(worker)


def test_without_the_variables_the_api_stub_imports_no_sdk(stack: Stack) -> None:
    """FastAPI imports OpenTelemetry's API by itself."""
    api = stack.api_stub(**TOLD)
    assert api.stop() == 0
    assert not {name for name in imported(api) if re.match(r"opentelemetry\.(sdk|exporter)", name)}


def test_without_the_packages_a_warning_says_what_to_install(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    worker = stack.worker(
        *ONCE, MARKET_SOURCE="none", PYTHONPATH=str(tmp_path), OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1"
    )
    assert worker.wait() == 0
    assert worker.wait_for_line(re.compile(r"^\[OTEL\] No spans: No module named .*; install crypto-updates\[otel\]"))
    assert worker.wait_for_line("[PUBLISH] Sent crypto.update event")


def test_a_bad_value_of_opentelemetry_is_told_with_the_others(stack: Stack) -> None:
    bad = {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "SCHEDULE": "x"}
    worker = stack.worker(**bad)
    assert worker.wait() == 2
    assert sorted(line.partition("=")[0] for line in worker.lines) == sorted(bad)


def test_a_value_that_only_opentelemetry_knows_is_told_too(stack: Stack) -> None:
    bad = {"OTEL_BSP_MAX_QUEUE_SIZE": "1", "OTEL_TRACES_EXPORTER": "otlp"}
    worker = stack.worker(**bad)
    assert worker.wait() == 2
    assert worker.wait_for_line(re.compile(r"^OTEL_\.\.\.: max_export_batch_size must be .*; accepted: "))
