"""The worker's health server, asked over a real port."""

import http.client
import json
import logging
import socket
from collections.abc import Iterator

import pytest

from worker import health
from worker.metrics import PUBLISHED

HOST = "127.0.0.1"
# Reserved for documentation (RFC 5737), so no address of this machine.
ELSEWHERE = "192.0.2.1"


class Worker:
    """What the health server asks, and where it is to be asked."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self.asked = 0
        with socket.create_server((HOST, 0)) as free:
            self.port: int = free.getsockname()[1]

    def say(self) -> str | None:
        self.asked += 1
        return self.problem

    def get(self, path: str) -> tuple[int, str | None, str]:
        """Status, content type and body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.getheader("Content-Type"), answer.read().decode()
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Worker]:
    worker = Worker()
    with health.serve(HOST, worker.port, worker.say):
        yield worker


@pytest.fixture
def worker(server: Worker) -> Worker:
    server.problem, server.asked = None, 0
    return server


def test_livez_says_that_the_process_runs_whatever_the_problem(worker: Worker) -> None:
    worker.problem = "NATS is not connected"
    assert worker.get("/livez") == (200, "application/json", '{"status":"alive"}')
    assert worker.asked == 0


def test_readyz_asks_each_time(worker: Worker) -> None:
    for count in (1, 2):
        assert worker.get("/readyz") == (200, "application/json", '{"status":"ready"}')
        assert worker.asked == count


def test_readyz_answers_503_with_the_reasons(worker: Worker) -> None:
    worker.problem = 'NATS said "no"'
    status, kind, body = worker.get("/readyz")
    assert (status, kind) == (503, "application/json")
    assert json.loads(body) == {"status": "not ready", "reasons": ['NATS said "no"']}


def test_readyz_is_ready_again_when_the_problem_is_gone(worker: Worker) -> None:
    worker.problem = "NATS is not connected"
    assert worker.get("/readyz")[0] == 503
    worker.problem = None
    assert worker.get("/readyz")[0] == 200


def test_metrics_have_the_counts_in_the_text_format_of_prometheus(worker: Worker) -> None:
    PUBLISHED.labels("sent").inc(0)
    status, kind, body = worker.get("/metrics")
    assert status == 200
    assert (kind or "").startswith("text/plain; version=")
    for name in ("published_total", "fetch_failures_total", "last_published_slot_timestamp_seconds"):
        assert f"\ncrypto_worker_{name}" in body
    assert "\ncrypto_slots_missed_total" in body


@pytest.mark.parametrize("path", ["/", "/livez/", "/metrics/../livez", "/%00"])
def test_other_paths_are_not_found(path: str, worker: Worker) -> None:
    assert worker.get(path) == (404, "application/json", '{"status":"not found"}')


def test_a_client_that_says_nothing_keeps_no_other_waiting(worker: Worker) -> None:
    with socket.create_connection((HOST, worker.port)):
        assert worker.get("/livez")[0] == 200


def test_the_port_is_free_again_at_the_end() -> None:
    worker = Worker()
    with health.serve(HOST, worker.port, worker.say):
        assert worker.get("/livez")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        worker.get("/livez")


@pytest.mark.parametrize("host", [HOST, ELSEWHERE])
def test_without_an_address_the_worker_runs_without(host: str, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with health.serve(host, port, lambda: None):
            ran = True
    assert ran
    ((name, level, line),) = caplog.record_tuples
    assert (name, level) == ("worker.health", logging.WARNING)
    assert line.startswith(f"[HEALTH] HEALTH_PORT={port}: ")
    assert line.endswith("; running without /livez, /readyz and /metrics")
