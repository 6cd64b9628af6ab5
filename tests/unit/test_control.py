"""The control port: what it answers to a fault, and to what it cannot do."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from crypto_updates.harness.control import faults
from crypto_updates.harness.control.faults import Fault
from crypto_updates.harness.control.server import serve
from crypto_updates.local.errors import PortTakenError, StackError
from tests.support import eventually

Answer = tuple[int, Any]


class Scribe:
    """Takes note of what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.told: list[str] = []

    def broken(self) -> None:
        raise StackError("nats-server: the port is in use")

    @property
    def targets(self) -> dict[str, faults.Faults]:
        def note(text: str) -> Any:  # noqa: ANN401 - a function of any arguments
            return lambda **options: self.done.append(" ".join([text, *map(str, options.values())]))

        nats = {"down": Fault(note("down"), note("up")), "thaw": Fault(note("thaw")), "broken": Fault(self.broken)}
        return {"nats": nats, "link": {"slow": Fault(note("slow"), note("heal"), ("delay",))}}


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


@pytest.fixture
def url(scribe: Scribe) -> Iterator[str]:
    with serve("Test", faults.router(scribe.targets, scribe.told.append), port=0) as url:
        yield url


def ask(url: str, method: str, path: str, body: object = None) -> Answer:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)) as connection:
        text = body if isinstance(body, str) else json.dumps(body)
        connection.request(method, path, text if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        return answer.status, json.loads(content) if content else None


def test_a_fault_lasts_until_it_is_undone(url: str, scribe: Scribe) -> None:
    assert ask(url, "POST", "/faults/nats", {"fault": "down"}) == (204, None)
    assert ask(url, "POST", "/faults/nats", {"fault": "thaw"}) == (204, None)
    assert scribe.done == ["down", "thaw"]
    assert scribe.told == ["nats: down", "nats: thaw"]


def test_a_fault_with_seconds_is_answered_when_it_is_over(url: str, scribe: Scribe) -> None:
    begin = time.monotonic()
    assert ask(url, "POST", "/faults/link", {"fault": "slow", "seconds": 0.2, "delay": 0.5}) == (204, None)
    assert time.monotonic() - begin >= 0.2
    assert scribe.done == ["slow 0.5", "heal"]
    assert scribe.told[0] == "link: slow for 0.2 s"


def test_the_next_fault_on_a_target_ends_the_one_that_has_seconds_left(url: str, scribe: Scribe) -> None:
    first = threading.Thread(target=ask, args=(url, "POST", "/faults/nats", {"fault": "down", "seconds": 600}))
    first.start()
    assert eventually(lambda: scribe.done == ["down"])
    assert ask(url, "POST", "/faults/nats", {"fault": "thaw"}) == (204, None)
    first.join(10)
    assert scribe.done == ["down", "up", "thaw"]


def test_it_closes_at_once_and_says_so_to_those_who_wait(scribe: Scribe, caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Answer] = []
    with serve("Test", faults.router(scribe.targets, scribe.told.append), port=0) as url:
        body = {"fault": "down", "seconds": 600}
        asking = threading.Thread(target=lambda: answers.append(ask(url, "POST", "/faults/nats", body)))
        asking.start()
        assert eventually(lambda: scribe.done == ["down"])
        begin = time.monotonic()
    assert time.monotonic() - begin < 5
    asking.join(10)
    assert [(status, problem["detail"]) for status, problem in answers] == [(503, "the control port was closed")]
    assert caplog.records == []


WRONG: list[tuple[str, object, str]] = [
    ("/faults/moon", {"fault": "down"}, "404 target=moon: nats, link"),
    ("/faults/nats", {"fault": "melt"}, "422 fault=melt: down, thaw, broken"),
    ("/faults/nats", {}, "422 fault=nothing: Field required"),
    ("/faults/nats", {"fault": "down", "seconds": -1}, "422 seconds=-1: Input should be greater than or equal to"),
    ("/faults/nats", {"fault": "down", "seconds": "x"}, "422 seconds=x: Input should be a valid number"),
    ("/faults/nats", {"fault": "thaw", "seconds": 3}, "422 seconds=3.0: nothing with thaw"),
    ("/faults/nats", {"fault": "down", "delay": 3}, "422 delay=3.0: nothing with down"),
    ("/faults/nats", {"fault": "down", "second": 3}, "422 second=3: no such name here"),
    ("/faults/nats", "{", "422 body={}: JSON"),
    ("/faults/nats", {"fault": "broken"}, "503 nats-server: the port is in use"),
    ("/fault", {}, "404 Not Found"),
]


def test_what_cannot_be_done_is_told(url: str, scribe: Scribe) -> None:
    for path, body, told in WRONG:
        status, problem = ask(url, "POST", path, body or "{}")
        assert f"{status} {problem['detail']}".startswith(told)
    assert scribe.done == []


def test_the_faults_of_each_target_are_told(url: str) -> None:
    assert ask(url, "GET", "/faults") == (200, {"nats": ["down", "thaw", "broken"], "link": ["slow"]})


def test_a_port_that_is_taken_is_told(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(PortTakenError, match=f"control port 127.0.0.1:{port}: Address already in use; accepted: "):
        serve("Test", port=port).__enter__()
