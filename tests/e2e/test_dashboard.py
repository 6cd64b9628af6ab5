"""Every expression of the dashboard and of the alerts, in a real Prometheus that scrapes the real services."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import httpx

from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from tests.e2e.conftest import STEADY, Stack, publish_raw
from tests.prometheus import Prometheus, expressions, rules
from tests.support import asking, soon

# What the exporter said of a NATS server with the stack's stream and consumer (see docs/observability.md).
EXPORTED = Path(__file__).parent / "nats_exporter"
SELECTOR = re.compile(r"\b(?:crypto_\w+|up)\b(?:\{[^}]*\})?")


class Handler(SimpleHTTPRequestHandler):
    extensions_map = {"": "text/plain; version=0.0.4"}  # noqa: RUF012 - as the base class has it

    def log_message(self, *_: object) -> None:
        """Write no access log."""


@contextmanager
def exporter() -> Iterator[str]:
    """Serve what the exporter said; gives host and port."""
    server = HTTPServer(("127.0.0.1", 0), partial(Handler, directory=EXPORTED))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


async def test_every_expression_returns_data(stack: Stack) -> None:
    wanted = [*expressions(), *(selector for rule in rules() for selector in SELECTOR.findall(rule["expr"]))]
    assert len(wanted) > 50
    http, health = ports.free(), ports.free()
    with Market() as market, exporter() as nats:
        worker = stack.worker(HEALTH_PORT=str(health), **STEADY, **asking(market))
        stack.api_stub(HTTP_PORT=str(http)).wait_for_line("[HTTP] Listening")
        targets = {"worker": [f"127.0.0.1:{health}"], "api_stub": [f"127.0.0.1:{http}"], "nats": [nats]}
        with Prometheus(targets, minute=8) as prometheus:
            lacking = ["crypto_nobody", *wanted]

            def look() -> bool:
                """Forget those that return data, one after the other: on a busy machine a scrape may fail."""
                lacking[:] = [each for each in lacking if not prometheus.values(each)]
                return lacking == ["crypto_nobody"]

            assert await soon(look), lacking
            assert await soon(lambda: not any(prometheus.query(rule["expr"]) for rule in rules()))
            # The figures are those of the stack, and not just numbers.
            await publish_raw(stack.nats, b"", b"no event")
            assert await soon(lambda: prometheus.values("max(crypto_dead_letters_stored)") == [1])
            # Without data in time, an event shows no price.
            assert await soon(lambda: prometheus.values("max(crypto_price)") == [market.prices["bitcoin"]])
            with httpx.stream("GET", f"http://127.0.0.1:{http}/events/stream", timeout=30, trust_env=False):
                assert await soon(lambda: prometheus.values("sum(crypto_stream_clients)") == [1])
                assert await soon(lambda: prometheus.values("max(crypto_stream_open)") == [1])
            worker.kill()  # it would take its time to deliver its last events
