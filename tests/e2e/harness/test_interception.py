"""Calls to https://api.coingecko.com reach the market of the harness, by whatever client, and no other calls do."""

import http.client
import os
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from crypto_updates.harness import interception
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.interception import Interception
from crypto_updates.local import ports, programs
from tests import node
from tests.support import HANG_SECONDS, ROOT, serving

SERVERS = ROOT / "tests" / "servers"
RUN_SECONDS = 9 * HANG_SECONDS  # without a cache, Go compiles its whole library for HTTP
PATH = "/api/v3/ping?x=1"
URL = f"https://api.coingecko.com{PATH}"
NODE = {
    "fetch": f"fetch('{URL}').then((r) => r.text()).then(console.log)",
    "https": f"require('https').get('{URL}', (r) => r.pipe(process.stdout))",
    "http": f"require('http').get('{URL.replace('https', 'http')}', (r) => r.pipe(process.stdout))",
    "axios": f"require('axios').get('{URL}').then((r) => console.log(r.data))",
    "axios without proxy": f"require('axios').get('{URL}', {{ proxy: false }}).then((r) => console.log(r.data))",
    "a worker thread": f"new (require('worker_threads').Worker)(`fetch('{URL}').then((r) => r.text())"
    ".then(console.log)`, { eval: true })",
    "an ES module": f"import {{ get }} from 'node:https'; get('{URL}', (r) => r.pipe(process.stdout))",
}
PYTHON = {
    "urllib": f"import urllib.request as u; print(u.urlopen('{URL}').read().decode())",
    "httpx": f"import httpx; print(httpx.get('{URL}').text)",
    "requests": f"import requests; print(requests.get('{URL}').text)",
}
GO = f"""package main
import ("io"; "net/http"; "os")
func main() {{ r, e := http.Get("{URL}"); if e != nil {{ panic(e) }}; io.Copy(os.Stdout, r.Body) }}
"""
# What a machine may lack is not skipped here: each of them is one more client of the same proxy.
OTHERS = [name for name in ("curl", "go") if shutil.which(name)]


class _Echo(BaseHTTPRequestHandler):
    """Answers with the request's path."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *_: object) -> None:
        """Write no access log."""


@contextmanager
def echo(ca: trustme.CA | None = None) -> Iterator[int]:
    """The port of a server on this machine, with TLS as `localhost` if a CA is given."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    if ca:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        ca.issue_cert("localhost").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield server.server_port


@pytest.fixture(scope="module")
def intercepted() -> Iterator[Interception]:
    with echo() as market_port, Interception(market_port) as interception:
        yield interception


def run(*command: str, env: dict[str, str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("client", NODE)
def test_node_reaches_the_market(intercepted: Interception, client: str) -> None:
    folder = node.install(SERVERS)
    kind = ["--input-type=module"] if NODE[client].startswith("import") else []
    assert run("node", *kind, "-e", NODE[client], env=os.environ | node.path() | intercepted.env(), cwd=folder) == PATH


@pytest.mark.parametrize("client", PYTHON)
def test_python_reaches_the_market(intercepted: Interception, client: str) -> None:
    assert run(sys.executable, "-c", PYTHON[client], env=os.environ | intercepted.env()) == PATH


@pytest.mark.timeout(RUN_SECONDS + HANG_SECONDS)
@pytest.mark.parametrize("client", OTHERS)
def test_other_languages_reach_the_market(intercepted: Interception, client: str, tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text(GO, encoding="utf-8")
    command = {"curl": ["curl", "-sS", URL], "go": ["go", "run", "main.go"]}[client]
    assert run(*command, env=os.environ | intercepted.env(), cwd=tmp_path) == PATH


def test_a_program_keeps_its_own_options_and_certificates(
    intercepted: Interception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "own.pem")
    folder = tmp_path / 'a "quoted" \\ folder'
    folder.mkdir()
    monkeypatch.setattr(interception, "PRELOAD", shutil.copy(interception.PRELOAD, folder))
    own = {"NODE_OPTIONS": "--title=mine", "NODE_EXTRA_CA_CERTS": str(tmp_path / "own.pem")}
    get = "(url) => fetch(url).then((r) => r.text())"
    with echo(ca) as port:
        program = f"Promise.all(['{URL}', 'https://localhost:{port}/other'].map({get}))"
        env = os.environ | node.path() | own | intercepted.env(own)
        intercepted.env({})  # of another program, which has no certificates of its own
        told = run("node", "-e", f"{program}.then((all) => console.log(process.title, ...all))", env=env)
    assert told == f"mine {PATH} /other"


def test_a_server_with_the_address_in_its_code_asks_the_market(crypto: Crypto) -> None:
    folder = node.install(SERVERS)
    crypto.app("node", "trigger.js", cwd=folder, env=node.path(), subscribes="crypto.update")
    crypto.publish(body='{"trigger":"update"}', subject="crypto.update")
    prices = {reaction.document["coin"]: reaction.document["price"] for reaction in crypto.reactions.wait(3)}
    assert prices["bitcoin"] == crypto.market.prices["bitcoin"]
    assert {request.path for request in crypto.market.requests} == {"/api/v3/simple/price"}


def test_other_hosts_are_passed_through(intercepted: Interception) -> None:
    ca = trustme.CA()
    context = ssl.create_default_context()
    ca.configure_trust(context)
    with echo(ca) as port:
        tunnel = http.client.HTTPSConnection("127.0.0.1", intercepted.port, context=context, timeout=HANG_SECONDS)
        tunnel.set_tunnel("localhost", port)
        assert get(tunnel, "/through/tunnel") == (200, "/through/tunnel")
    with echo() as port:
        plain = http.client.HTTPConnection("127.0.0.1", intercepted.port, timeout=HANG_SECONDS)
        assert get(plain, f"http://localhost:{port}/whole?url=1") == (200, "/whole?url=1")


def test_a_host_that_cannot_be_reached_is_a_bad_gateway(intercepted: Interception) -> None:
    with echo() as port:
        pass
    proxy = http.client.HTTPConnection("127.0.0.1", intercepted.port, timeout=HANG_SECONDS)
    status, reason = get(proxy, f"http://localhost:{port}/")
    assert (status, "Connect call failed" in reason) == (502, True)


def test_the_market_alone_is_coingecko_for_who_trusts_its_certificate(tmp_path: Path) -> None:
    ca, port = tmp_path / "certificates.pem", ports.free()
    market = programs.start("stack", "market", "--ca", str(ca), "--https-port", str(port), environ=os.environ)
    try:
        market.wait_for_line("https://api.coingecko.com")
        context = ssl.create_default_context(cafile=ca)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=HANG_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname=interception.HOST) as client,
        ):
            client.sendall(b"GET /api/v3/ping HTTP/1.0\r\n\r\n")
            assert client.makefile().read().endswith("}")
    finally:
        assert market.stop() == 0


def get(connection: http.client.HTTPConnection, url: str) -> tuple[int, str]:
    connection.request("GET", url)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body
