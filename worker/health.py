"""The worker's /livez, /readyz and /metrics, answered in its event loop: a connection needs no thread."""

import asyncio
import contextlib
import errno
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder

from crypto_updates.service.config import ConfigError
from crypto_updates.service.errors import text
from crypto_updates.service.listener import listen

log = logging.getLogger(__name__)

JSON = "application/json"
METHODS = ("GET", "HEAD")
# A client that has not sent its request and taken the answer by then is cut off. A ping of NATS takes 2 s at most.
CLIENT_SECONDS = 5.0
# For one more connection, the oldest one is closed: a probe takes milliseconds, so the oldest one is idle.
MAX_CONNECTIONS = 100
MAX_LINE_BYTES = 8 * 1024
# The target may be a whole URL (RFC 9112, 3.2.2).
REQUEST_LINE = re.compile(r"(?P<method>\S+) (?:http://[^/\s]+)?(?P<path>[/*][^\s?]*)(?:\?\S*)? HTTP/1\.[01]", re.ASCII)
ACCEPTED = "an address of this machine, 0.0.0.0 for all, and a port that this user may open"

# What keeps the worker from being ready. It makes a round trip.
Problems = Callable[[], Awaitable[list[str]]]
# What works less well than it should.
Warnings = Callable[[], list[str]]
Answer = tuple[HTTPStatus, str, bytes]


class Request(NamedTuple):
    """`path` is None if it is no HTTP."""

    method: str
    path: str | None
    accept: str


@contextlib.asynccontextmanager
async def serve(host: str, port: int, problems: Problems, warnings: Warnings = list) -> AsyncIterator[None]:
    """Serve while the context lasts. Raises ConfigError if this machine cannot listen there.

    If the port is taken, for example by a second worker on this machine, the worker runs without them.
    """
    try:
        listener = listen(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise ConfigError(
                f"HEALTH_HOST={host} HEALTH_PORT={port}: {error.strerror}; accepted: {ACCEPTED}"
            ) from error
        log.warning("[HEALTH] HEALTH_PORT=%d: %s; running without /livez, /readyz and /metrics", port, error.strerror)
        yield
        return
    clients = _Clients(problems, warnings)
    server = await asyncio.start_server(clients.serve, sock=listener, limit=MAX_LINE_BYTES)
    try:
        yield
    finally:
        server.close()
        clients.close()


class _Clients:
    def __init__(self, problems: Problems, warnings: Warnings) -> None:
        self._problems = problems
        self._warnings = warnings
        self._writers: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        self._writers[writer] = None
        if len(self._writers) > MAX_CONNECTIONS:
            next(iter(self._writers)).transport.abort()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                if request := await _request(reader):
                    writer.write(await _response(request, self._problems, self._warnings))
                    await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, ValueError) as error:
            log.debug("[HEALTH] Client cut off: %s", text(error))
        except Exception:
            log.exception("[HEALTH] Cannot answer")
        finally:
            writer.transport.abort()
            del self._writers[writer]

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def _request(reader: asyncio.StreamReader) -> Request | None:
    """Read the head of a request. None if the client sent nothing. Raises ValueError if a line is too long."""
    line = (await reader.readline()).decode("latin-1").strip()
    found = REQUEST_LINE.fullmatch(line)
    accept = ""
    while header := (await reader.readline()).decode("latin-1").strip():
        name, _, value = header.partition(":")
        accept = value if name.lower() == "accept" else accept
    return Request(found["method"] if found else "", found["path"] if found else None, accept) if line else None


async def _response(request: Request, problems: Problems, warnings: Warnings) -> bytes:
    bad = _say(HTTPStatus.BAD_REQUEST, "not an HTTP request")
    status, kind, body = bad if request.path is None else await _answer(request, problems, warnings)
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        *([f"Allow: {', '.join(METHODS)}"] if status == HTTPStatus.METHOD_NOT_ALLOWED else []),
        "Connection: close",
    ]
    return "".join(f"{line}\r\n" for line in [*head, ""]).encode() + (b"" if request.method == "HEAD" else body)


async def _answer(request: Request, problems: Problems, warnings: Warnings) -> Answer:
    if request.path not in {"/livez", "/readyz", "/metrics"}:
        return _say(HTTPStatus.NOT_FOUND, "not found")
    if request.method not in METHODS:
        return _say(HTTPStatus.METHOD_NOT_ALLOWED, "method not allowed")
    if request.path == "/metrics":
        encode, media_type = choose_encoder(request.accept)
        return HTTPStatus.OK, media_type, encode(REGISTRY)
    if request.path == "/livez":
        return _say(HTTPStatus.OK, "alive")
    if reasons := await problems():
        return _say(HTTPStatus.SERVICE_UNAVAILABLE, "not ready", reasons=reasons)
    found = warnings()
    return _say(HTTPStatus.OK, "ready", **({"warnings": found} if found else {}))


def _say(status: HTTPStatus, word: str, **more: object) -> Answer:
    return status, JSON, json.dumps({"status": word, **more}, separators=(",", ":")).encode()
