"""Requests as nobody should send them: each gets a whole answer, and each refusal is a problem document."""

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from pymongo import MongoClient

from api_stub.http import protocol
from tests.e2e.api.conftest import Api, started
from tests.support import HANG_SECONDS

PATHS = ["/", "/docs", "/page/main.js", "/openapi.json", "/events", "/coins", "/livez", "/readyz", "/state", "/metrics"]
PATHS += ["/events/nothing", "/nowhere", "/stats", "/page/nowhere.js", "/events?limit=0"]


class Answer(NamedTuple):
    status: int
    headers: Message
    body: bytes


def ask(api: Api, request: bytes, method: str = "GET") -> Answer:
    """Send the bytes, and read one answer."""
    address = urlsplit(api.url)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        with contextlib.suppress(ConnectionError):  # the answer may come before all is sent
            connection.sendall(request)
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return Answer(answer.status, answer.headers, answer.read())


def problem(answer: Answer) -> dict[str, Any]:
    """The problem document that the answer is."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(answer.body)
    assert document["status"] == answer.status
    assert document["title"]
    assert document["detail"]
    return document


@pytest.mark.parametrize("path", PATHS)
def test_head_answers_as_get_without_the_body(api: Api, path: str) -> None:
    got, head = (
        httpx.request(method, api.url + path, timeout=HANG_SECONDS, trust_env=False) for method in ("GET", "HEAD")
    )
    ours = {name: value for name, value in head.headers.items() if name not in {"date", "content-length"}}
    theirs = {name: value for name, value in got.headers.items() if name not in {"date", "content-length"}}
    assert (head.status_code, ours, head.content) == (got.status_code, theirs, b"")
    # Their contents change from one request to the next.
    if path not in {"/state", "/metrics"}:
        assert head.headers["Content-Length"] == got.headers["Content-Length"] == str(len(got.content))


def test_head_opens_no_event_stream(api: Api) -> None:
    taken = []
    with httpx.Client(timeout=HANG_SECONDS, trust_env=False) as client:
        for _ in range(3):
            begin = time.monotonic()
            answer = client.head(f"{api.url}/events/stream")
            taken.append(time.monotonic() - begin)
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert min(taken) < 1, taken  # a HEAD that waits for events waits each time
    assert "crypto_stream_clients 0.0" in api.get("/metrics").text


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize(
    "path", ["/", "/events", "/events/stream", "/events/x", "/page/main.js", "/metrics", "/openapi.json"]
)
def test_another_method_is_refused_with_those_that_are_allowed(api: Api, method: str, path: str) -> None:
    answer = httpx.request(method, api.url + path, timeout=HANG_SECONDS, trust_env=False)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert answer.headers["Content-Type"] == "application/problem+json"


def get(path: str = "/livez", *headers: str, version: str = "1.1") -> bytes:
    return "\r\n".join([f"GET {path} HTTP/{version}", *headers, "", ""]).encode("latin-1")


HOST = "Host: localhost"
CLOSE = "Connection: close"
LARGE = "x" * 2 * protocol.MAX_HEAD_BYTES


@pytest.mark.parametrize(
    ("request_bytes", "status", "told"),
    [
        (b"nonsense\r\n\r\n", 400, "Invalid method"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "Invalid method"),  # TLS
        (b"FETCH / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "Invalid method"),
        (get(version="9.9"), 400, "version"),
        (b"GET  HTTP/1.1\r\n\r\n", 400, "url"),
        (b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "its target is not a path"),
        (get("/livez", HOST, "Content-Length: many"), 400, "Content-Length"),
        (get("/livez", HOST, "Content-Length: -1"), 400, "Content-Length"),
        (get("/livez", HOST, "Content-Length: 1", "Content-Length: 2"), 400, "Content-Length"),
        (get("/livez", HOST, "Content-Length: 1", "Transfer-Encoding: chunked"), 400, "Content-Length"),
        (get("/livez", HOST, "no colon"), 400, "header"),
        (get("/livez", HOST, "x: \0"), 400, "header"),
        (get("/livez"), 400, "0 Host headers"),
        (get("/livez", HOST, "Host: 127.0.0.1"), 400, "2 Host headers"),
        (get("/livez", HOST, f"x: {LARGE}"), 431, "65536 bytes"),
        (get("/livez", HOST, *(f"x{n}: {'x' * 1000}" for n in range(100))), 431, "65536 bytes"),
        (get(f"/{LARGE}", HOST), 414, "65536 bytes"),
        (get("/page/%00", HOST, CLOSE), 404, "Not Found"),
        (get(f"/page/{'x' * 5000}", HOST, CLOSE), 404, "Not Found"),
        (get("/page/", HOST, CLOSE), 404, "Not Found"),
        (get("/%ff%fe", HOST, CLOSE), 404, "Not Found"),
        (get("/page/main.js", HOST, CLOSE, "Range: bytes=9999999-"), 416, "bytes=9999999-"),
        (get("/", HOST, CLOSE, "Range: bytes=9999999-"), 416, "bytes=9999999-"),
        (get("/page/main.js", HOST, CLOSE, "Range: bytes=5-1"), 400, "bytes=5-1"),
        (get("/page/main.js", HOST, CLOSE, "Range: lines=1-2"), 400, "lines=1-2"),
        (get("/events?limit=0", HOST, CLOSE), 422, "limit=0"),
        (get("/events?cursor=1-%00", HOST, CLOSE), 422, "cursor=1-"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_request_gets_a_problem_document(api: Api, request_bytes: bytes, status: int, told: str) -> None:
    answer = ask(api, request_bytes)
    assert (answer.status, told in problem(answer)["detail"]) == (status, True), answer
    assert api.get("/livez").status_code == 200


def test_a_range_that_is_there_is_given(api: Api) -> None:
    url = f"{api.url}/page/main.js"
    answer = httpx.get(url, headers={"Range": "bytes=0-3"}, timeout=HANG_SECONDS, trust_env=False)
    assert (answer.status_code, answer.text) == (206, "// B")
    head = httpx.head(url, headers={"Range": "bytes=9999999-"}, timeout=HANG_SECONDS, trust_env=False)
    assert (head.status_code, head.content, head.headers["Content-Range"][:8]) == (416, b"", "bytes */")


def test_each_status_has_one_title(api: Api) -> None:
    said = api.read("/openapi.json")["paths"]["/slots"]["get"]["responses"]["422"]["description"]
    titles = {api.get(path).json()["title"] for path in ("/slots?hours=nan", "/events?cursor=x", "/stats")}
    assert {said} == titles == {"Unprocessable Content"}


def test_an_upgrade_is_ignored(api: Api) -> None:
    upgrade = ["Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: eA=="]
    assert ask(api, get("/livez", HOST, *upgrade)).status == 200
    assert problem(ask(api, get("/nowhere", HOST, *upgrade)))["status"] == 404


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "page.localhost:1",
            "127.0.0.1",
            "127.9.9.9:80",
            "[::1]",
            "[::1]:8080",
        ),
        *("192.168.1.5:8080", "[fe80::1]:80", "203.0.113.1", "0.0.0.0:8080", ""),
    ],
)
def test_a_host_that_no_other_site_can_bind_to_this_address_is_served(api: Api, host: str) -> None:
    assert ask(api, get("/livez", f"Host: {host}", CLOSE)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil",
            "notlocalhost",
        ),
        *(
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "[::1].evil.example",
            "[::1",
            "a b",
            "evil.example:80:80",
            "é",
        ),
    ],
)
@pytest.mark.parametrize("path", ["/events", "/", "/page/main.js", "/events/stream", "/metrics", "/nowhere"])
def test_another_host_is_refused_by_a_problem_that_names_the_variable(api: Api, host: str, path: str) -> None:
    answer = ask(api, get(path, f"Host: {host}", CLOSE))
    document = problem(answer)
    assert (answer.status, document["title"]) == (421, "Misdirected Request")
    assert document["errors"][0]["value"] == host
    assert "HTTP_ALLOWED_HOSTS" in document["detail"]


def test_a_probe_of_http_1_0_needs_no_host(api: Api) -> None:
    assert ask(api, get(version="1.0")).status == 200
    assert ask(api, get("/livez", "Host: evil.example", version="1.0")).status == 421
    # A proxy's form of a request. No browser sends it, and Host alone decides.
    assert ask(api, get("http://evil.example/livez", HOST, CLOSE)).status == 200


@pytest.fixture(scope="module")
def named(client: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder: Path = tmp_path_factory.mktemp("named")
    with started(client, folder, HTTP_HOST="localhost", HTTP_ALLOWED_HOSTS="api_stub, *.Example.com,") as api:
        yield api


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *(("api_stub:8080", 200), ("API_STUB", 200), ("a.example.com", 200), ("a.b.EXAMPLE.com:1", 200)),
        *(("example.com", 421), ("api_stub2", 421), ("a.example.com.evil", 421), ("127.0.0.1", 200)),
    ],
)
def test_more_hosts_are_named_by_the_variable(named: Api, host: str, status: int) -> None:
    assert ask(named, get("/livez", f"Host: {host}", CLOSE)).status == status


def test_a_connection_without_a_request_is_closed(api: Api) -> None:
    address = urlsplit(api.url)
    begin = time.monotonic()
    with contextlib.ExitStack() as closing:
        connections = [
            closing.enter_context(socket.create_connection((address.hostname, address.port), timeout=20)) for _ in "123"
        ]
        connections[1].sendall(b"GET / HTTP/1.1\r\n")
        connections[2].sendall(get("/livez", HOST))
        assert connections[2].recv(100).startswith(b"HTTP/1.1 200")
        connections[2].sendall(b"GET / HT")
        for connection in connections:
            while connection.recv(10_000):
                pass
    assert time.monotonic() - begin < protocol.HEAD_SECONDS + 5
