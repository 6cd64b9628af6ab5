"""The HTTP server, in the service's event loop and without signal handlers of its own."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import uvicorn
from starlette.types import ASGIApp

from api_stub.errors import ApiError
from api_stub.http.protocol import Protocol
from crypto_updates.service import lifecycle
from crypto_updates.service.listener import listen

# The kernel ends the connection of a client that acknowledges nothing for this long.
STALLED_CLIENT_SECONDS = 20.0
SEND_BUFFER_BYTES = 128 * 1024
SHUTDOWN_SECONDS = 2


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    async def main_loop(self) -> None:
        """Wait for the end. uvicorn's own wakes ten times a second to look for it and to set the Date header, which the
        gate does: that was half of what the API stub does at rest.
        """
        await self._ending.wait()

    def end(self) -> None:
        self.should_exit = True
        self._ending.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service. uvicorn would raise them again when it ends, and so set the exit status."""
        yield


def _tune(listener: socket.socket) -> None:
    """Set what accepted connections inherit (tcp(7)).

    TCP_USER_TIMEOUT ends a connection whose client reads nothing. Neither uvicorn nor asyncio does that. Without
    TCP_NODELAY, which asyncio does not set for these sockets, the body waits 40 ms until the client has acknowledged
    the head.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * STALLED_CLIENT_SECONDS))


@contextlib.asynccontextmanager
async def serve(app: ASGIApp, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts. Raises ApiError if the address is not free."""
    try:
        listener = listen(host, port)
        _tune(listener)
    except OSError as error:
        raise ApiError(f"HTTP_HOST={host} HTTP_PORT={port}: {error.strerror}; accepted: a free address") from error
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="off",
        http=Protocol,
        ws="none",
        workers=1,  # else uvicorn reads WEB_CONCURRENCY, and raises what is no number
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]), name="http")
    try:
        yield
    finally:
        config.timeout_graceful_shutdown = int(lifecycle.left(SHUTDOWN_SECONDS))
        server.end()
        await task
