"""The worker's health server, asked over a real port, and what keeps the worker from being ready."""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator

import pytest

from crypto_updates.service.config import ConfigError
from tests.support import HANG_SECONDS
from worker import health
from worker.metrics import PUBLISHED

HOST = "127.0.0.1"
# Reserved for documentation (RFC 5737, RFC 3849), so no addresses of this machine.
ELSEWHERE = ["192.0.2.1", "2001:db8::1"]
Answer = tuple[int, dict[str, str], str]


class Worker:
    """What the health server asks, and where it is to be asked."""

    def __init__(self, host: str = HOST) -> None:
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.asked = 0
        self.host = host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family) as free:
            self.port: int = free.getsockname()[1]

    async def say(self) -> list[str]:
        self.asked += 1
        return self.problems

    def serve(self) -> contextlib.AbstractAsyncContextManager[None]:
        return health.serve(self.host, self.port, self.say, lambda: self.warnings)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """Status, headers and body."""
        return await asyncio.to_thread(self._ask, path, method, headers)

    def _ask(self, path: str, method: str, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=HANG_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read().decode()

    async def get(self, path: str) -> tuple[int, str, str]:
        """Status, content type and body."""
        status, headers, body = await self.ask(path)
        return status, headers["Content-Type"], body


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    worker = Worker()
    async with worker.serve():
        yield worker


async def test_livez_says_that_the_process_runs_whatever_the_problem(worker: Worker) -> None:
    worker.problems = ["NATS is not connected"]
    assert await worker.get("/livez") == (200, "application/json", '{"status":"alive"}')
    assert worker.asked == 0


async def test_readyz_asks_each_time(worker: Worker) -> None:
    for count in (1, 2):
        assert await worker.get("/readyz") == (200, "application/json", '{"status":"ready"}')
        assert worker.asked == count


async def test_readyz_answers_503_with_the_reasons(worker: Worker) -> None:
    worker.problems = ['NATS said "no"', "the scheduler's thread has ended"]
    status, kind, body = await worker.get("/readyz")
    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {"status": "not ready", "reasons": worker.problems}


async def test_readyz_names_what_works_less_well_and_stays_ready(worker: Worker) -> None:
    worker.warnings = ["nats://x has no JetStream"]
    status, _, body = await worker.get("/readyz")
    assert (status, json.loads(body)) == (200, {"status": "ready", "warnings": worker.warnings})


async def test_readyz_is_ready_again_when_the_problem_is_gone(worker: Worker) -> None:
    worker.problems = ["NATS is not connected"]
    assert (await worker.get("/readyz"))[0] == 503
    worker.problems = []
    assert (await worker.get("/readyz"))[0] == 200


async def test_metrics_have_the_counts_in_the_text_format_of_prometheus(worker: Worker) -> None:
    PUBLISHED.labels("sent").inc(0)
    status, kind, body = await worker.get("/metrics")
    assert status == 200
    assert kind.startswith("text/plain; version=")
    for name in ("published_total", "fetch_failures_total", "last_published_slot_timestamp_seconds"):
        assert f"\ncrypto_worker_{name}" in body
    assert "\ncrypto_slots_missed_total" in body


@pytest.mark.parametrize("path", ["/", "/livez/", "/metrics/../livez", "/%00"])
async def test_other_paths_are_not_found(path: str, worker: Worker) -> None:
    assert await worker.get(path) == (404, "application/json", '{"status":"not found"}')


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/nothing"])
async def test_head_is_answered_as_get_without_the_body(path: str, worker: Worker) -> None:
    """As `wget --spider` asks."""
    status, headers, _ = await worker.ask(path)
    head_status, head_headers, head_body = await worker.ask(path, "HEAD")
    if path == "/metrics":  # its figures change from one request to the next, and so may the length
        headers["Content-Length"] = head_headers["Content-Length"]
    assert (head_status, head_headers, head_body) == (status, headers, "")


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "DELETE", "get"])
async def test_other_methods_are_refused_with_those_allowed(method: str, worker: Worker) -> None:
    status, headers, _ = await worker.ask("/livez", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


async def test_metrics_come_in_the_form_that_is_asked_for(worker: Worker) -> None:
    _, headers, body = await worker.ask("/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith("# EOF\n")


async def test_idle_clients_keep_no_other_waiting_and_take_no_threads(worker: Worker) -> None:
    threads = threading.active_count()
    idle = [await asyncio.open_connection(HOST, worker.port) for _ in range(3 * health.MAX_CONNECTIONS)]
    assert (await worker.get("/livez"))[0] == 200
    assert threading.active_count() <= threads + 1  # the client's own
    for _, writer in idle:
        writer.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GARBAGE", 400),
        (b"GET /livez", 400),
        (b"GET livez HTTP/1.1", 400),
        (b"GET /livez FTP/1.1", 400),
        (b"\xff\x00 \xff", 400),
        (b"OPTIONS * HTTP/1.1", 404),
        (b"GET http://127.0.0.1:1/livez?a=b HTTP/1.1", 200),
        (b"GET /livez?a=b HTTP/1.0", 200),
    ],
)
async def test_what_is_no_http_is_told_so(sent: bytes, status: int, worker: Worker) -> None:
    reader, writer = await asyncio.open_connection(HOST, worker.port)
    writer.write(sent + b"\r\n\r\n")
    async with asyncio.timeout(HANG_SECONDS):
        assert (await reader.read()).startswith(f"HTTP/1.1 {status} ".encode())
    writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nA: b\r\n", b"GET /" + 100_000 * b"x"])
async def test_a_client_that_does_not_finish_its_request_is_cut_off(
    sent: bytes, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CLIENT_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection(HOST, worker.port)
    writer.write(sent)
    async with asyncio.timeout(HANG_SECONDS):
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
    writer.close()


async def test_a_client_that_hangs_up_leaves_nothing_behind(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    for sent in (b"", b"GET", b"\r\n\r\n", b"\xff\x00 \xff\r\n\r\n"):
        _, writer = await asyncio.open_connection(HOST, worker.port)
        writer.write(sent)
        writer.close()
    assert (await worker.get("/livez"))[0] == 200
    assert caplog.records == []


@pytest.mark.parametrize("host", [HOST, "::1"])
async def test_the_port_is_free_again_at_the_end(host: str) -> None:
    worker = Worker(host)
    async with worker.serve():
        assert (await worker.get("/livez"))[0] == 200
    with pytest.raises(ConnectionRefusedError):
        await worker.get("/livez")


async def test_with_a_port_that_is_taken_the_worker_runs_without(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        async with health.serve(HOST, port, Worker().say):
            ran = True
    assert ran
    ((name, level, line),) = caplog.record_tuples
    assert (name, level) == ("worker.health", logging.WARNING)
    assert line.startswith(f"[HEALTH] HEALTH_PORT={port}: ")
    assert line.endswith("; running without /livez, /readyz and /metrics")


@pytest.mark.parametrize("host", ["::", "localhost"])
async def test_it_is_reached_by_ipv4_whatever_else_it_listens_on(host: str) -> None:
    worker = Worker()
    async with health.serve(host, worker.port, worker.say):
        assert (await worker.get("/livez"))[0] == 200


@pytest.mark.parametrize("host", [*ELSEWHERE, "no-such-host.invalid", "[::1]", "a..b"])
async def test_an_address_that_is_not_of_this_machine_is_a_bad_value(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        async with health.serve(host, 8081, Worker().say):
            pass
    assert str(caught.value).startswith(f"HEALTH_HOST={host} HEALTH_PORT=8081: ")
    assert "; accepted: an address of this machine" in str(caught.value)
