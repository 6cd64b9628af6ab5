"""The control port: what it answers to a fault, and to what it cannot do."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any
from unittest.mock import Mock
from urllib.parse import urlsplit

import pytest
from fastapi import HTTPException

from crypto_updates.harness.app import AppError
from crypto_updates.harness.control import faults
from crypto_updates.harness.control.faults import Fault, Faults, Target
from crypto_updates.harness.control.schema import Clock
from crypto_updates.harness.control.server import serve
from crypto_updates.harness.control.worker import Worker
from crypto_updates.local.errors import PortTakenError, StackError
from tests.support import HANG_SECONDS, eventually

Answer = tuple[int, Any]
JSON = {"Content-Type": "application/json"}


class Scribe:
    """Takes note of what is done to it."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.told: list[str] = []

    def broken(self) -> None:
        raise StackError("nats-server: the port is in use")

    @property
    def targets(self) -> dict[str, Target]:
        def note(text: str) -> Any:  # noqa: ANN401 - a function of any arguments
            return lambda **options: self.done.append(" ".join([text, *map(str, options.values())]))

        nats = {"down": Fault(note("down"), note("up")), "thaw": Fault(note("thaw")), "broken": Fault(self.broken)}
        found: dict[str, Faults] = {"nats": nats, "link": {"slow": Fault(note("slow"), note("heal"), ("delay",))}}
        return {name: Target(name, faults, self.told.append) for name, faults in found.items()}


@pytest.fixture
def scribe() -> Scribe:
    return Scribe()


@pytest.fixture
def url(scribe: Scribe) -> Iterator[str]:
    with serve("Test", faults.router(scribe.targets), port=0) as url:
        yield url


def ask(url: str, method: str, path: str, body: object = None, headers: Mapping[str, str] = JSON) -> Answer:
    with contextlib.closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=HANG_SECONDS)) as connection:
        text = body if isinstance(body, str) else json.dumps(body)
        connection.request(method, path, text if body else None, headers)
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
    first.join(HANG_SECONDS)
    assert scribe.done == ["down", "up", "thaw"]


def test_it_closes_at_once_and_says_so_to_those_who_wait(scribe: Scribe, caplog: pytest.LogCaptureFixture) -> None:
    answers: list[Answer] = []
    with serve("Test", faults.router(scribe.targets), port=0) as url:
        body = {"fault": "down", "seconds": 600}
        asking = threading.Thread(target=lambda: answers.append(ask(url, "POST", "/faults/nats", body)))
        asking.start()
        assert eventually(lambda: scribe.done == ["down"])
    asking.join(HANG_SECONDS)
    assert [(status, problem["detail"]) for status, problem in answers] == [(503, "the control port was closed")]
    assert caplog.records == []


WRONG: list[tuple[str, object, str]] = [
    ("/faults/moon", {"fault": "down"}, "404 target=moon: one of nats, link"),
    ("/faults/%ff", {"fault": "down"}, "404 target=\ufffd: one of nats, link"),
    ("/faults/nats", {"fault": "melt"}, "422 fault=melt: one of down, thaw, broken"),
    ("/faults/nats", {}, "422 fault=nothing: Field required"),
    ("/faults/nats", {"fault": "down", "seconds": -1}, "422 seconds=-1: Input should be greater than or equal to"),
    ("/faults/nats", {"fault": "down", "seconds": "x"}, "422 seconds=x: Input should be a valid number"),
    ("/faults/nats", {"fault": "thaw", "seconds": 3}, "422 seconds=3.0: nothing with thaw"),
    ("/faults/nats", {"fault": "down", "delay": 3}, "422 delay=3.0: nothing with down"),
    ("/faults/nats", {"fault": "down", "second": 3}, "422 second=3: no such name here"),
    ("/faults/nats", "{", "422 body={: JSON"),
    ("/faults/nats", [1], "422 body=[1]: a JSON object"),
    (
        "/faults/nats",
        r'{"fault": "\ud800"}',
        r"422 body={'fault': '\ud800'}: JSON of some hundred levels at most, and no half",
    ),
    ("/faults/nats", r'{"\ud800": 1}', r"422 body={'\ud800': 1}: JSON of some hundred levels at most"),
    ("/faults/nats", f'{{"fault": {"[" * 500}{"]" * 500}}}', "422 fault=[[["),
    ("/faults/nats", {"fault": "broken"}, "503 nats-server: the port is in use"),
    ("/fault", {}, "404 Not Found"),
]


def test_what_cannot_be_done_is_told(url: str, scribe: Scribe) -> None:
    for path, body, told in WRONG:
        status, problem = ask(url, "POST", path, body or "{}")
        assert f"{status} {problem['detail']}".startswith(told)
    assert scribe.done == []


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}, {"Content-Type": "application/jsonp"}])
def test_only_json_is_taken_because_a_page_in_a_browser_may_not_send_that(
    url: str, scribe: Scribe, headers: dict[str, str]
) -> None:
    status, problem = ask(url, "POST", "/faults/nats", {"fault": "down"}, headers)
    told = f"415 Content-Type={headers.get('Content-Type', 'nothing')}: application/json"
    assert (f"{status} {problem['detail']}", scribe.done) == (told, [])
    assert (
        ask(url, "POST", "/faults/nats", {"fault": "down"}, {"Content-Type": "Application/JSON; charset=utf-8"})[0]
        == 204
    )


def test_the_faults_of_each_target_are_told(url: str) -> None:
    assert ask(url, "GET", "/faults") == (200, {"nats": ["down", "thaw", "broken"], "link": ["slow"]})


def test_a_worker_that_is_not_ready_in_time_does_not_go_on() -> None:
    late, other, crypto = Mock(), Mock(), Mock(apps=[])
    crypto.apps.append(other)

    def start(*_: object, **__: str) -> None:
        crypto.apps.append(late)
        raise AppError("after 30 s it wrote no line")

    crypto.worker = start
    with pytest.raises(HTTPException, match="after 30 s it wrote no line"):
        Worker(crypto).run(Clock())
    late.stop.assert_called_once()
    other.stop.assert_not_called()


def test_a_port_that_is_taken_is_told(url: str) -> None:
    port = int(url.rpartition(":")[2])
    with pytest.raises(PortTakenError, match=f"control port 127.0.0.1:{port}: Address already in use; accepted: "):
        serve("Test", port=port).__enter__()
