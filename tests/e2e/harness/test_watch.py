"""A reaction that is seen by what a URL of the server answers."""

import http.server
import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from crypto_updates.harness.condition import eventually, never
from crypto_updates.harness.verdict.known import Known
from crypto_updates.harness.verdict.watch import ProbeWatch
from crypto_updates.local import ports
from crypto_updates.local.errors import StackError
from tests.support import serving

OLD = "2026-01-01T00:00:00Z"


class Shop:
    """An HTTP server that answers with what `document` gives, and with `status`."""

    def __init__(self, document: Callable[[], Any]) -> None:
        self.document = document
        self.status = 200


@contextmanager
def served(shop: Shop, host: str = "127.0.0.1") -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(shop.status)
            self.end_headers()
            self.wfile.write(json.dumps(shop.document()).encode())

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    server = Server((host, 0), Handler)
    with serving(server):
        yield server.server_port


def test_a_change_is_a_reaction_also_one_of_a_time_alone() -> None:
    shop = Shop(lambda: {"at": OLD})
    with served(shop) as port:
        watch = ProbeWatch(Known(), f"http://127.0.0.1:{port}/", ports.free())
        mark, contents = watch.mark(), watch.contents()
        watch.ignore(mark)
        never(lambda: watch.reacted(mark), during=0.1)
        shop.document = lambda: {"at": "2026-01-01T00:15:00Z"}
        eventually(lambda: watch.reacted(mark))
        assert (watch.events(mark), watch.contents()) == (1, contents)


def test_times_of_an_answer_that_shows_a_clock_are_no_reaction() -> None:
    shop = Shop(lambda: {"now": time.time(), "price": 1})
    with served(shop) as port:
        watch = ProbeWatch(Known(), f"http://127.0.0.1:{port}/", ports.free())
        mark, before = watch.mark(), watch.activity()
        watch.ignore(mark)
        never(lambda: watch.reacted(mark), during=0.1)
        shop.document = lambda: {"now": time.time(), "price": 2}
        eventually(lambda: watch.reacted(mark))
        assert watch.activity() != before


def test_an_answer_that_changes_without_an_event_is_an_error() -> None:
    numbers = itertools.count()
    with served(Shop(lambda: next(numbers))) as port:
        url = f"http://127.0.0.1:{port}/"
        watch = ProbeWatch(Known(), url, ports.free())
        with pytest.raises(StackError, match=f"--probe {url}: its answer changes without an event"):
            watch.ignore(watch.mark())


def test_no_good_answer_is_no_reaction_and_is_told() -> None:
    shop = Shop(lambda: {"price": 1})
    with served(shop) as port:
        url = f"http://127.0.0.1:{port}/stats"
        watch = ProbeWatch(Known(), url, ports.free())
        mark = watch.mark()
        shop.status = 503
        shop.document = lambda: {"error": "MongoDB is down"}
        never(lambda: watch.reacted(mark), during=0.1)
        assert watch.state == f"{url} answers with 503"
    never(lambda: watch.reacted(mark), during=0.1)
    assert watch.state.startswith(f"{url} does not answer (")


@pytest.mark.parametrize("host", ["127.0.0.1", *["::1"] * socket.has_dualstack_ipv6()])
def test_a_server_that_takes_the_port_that_it_was_given_is_asked_there(host: str) -> None:
    name = f"[{host}]" if ":" in host else host
    with served(Shop(lambda: "mine"), host) as port:
        watch = ProbeWatch(Known(), f"http://{name}:{ports.free()}/stats", port)
        assert watch.contents() == '"mine"'
        assert watch.state == f"http://{name}:{port}/stats answers with 200"
