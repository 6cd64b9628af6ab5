"""The HTTP server, within the service's own event loop and under its own signal handling."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI

from api_stub.errors import ApiError

# Seconds that a client may take nothing of what it is sent, and bytes that wait for it in the kernel meanwhile.
STALLED, BUFFER = 20.0, 128 * 1024


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the service: uvicorn would raise them again after its end, and the exit status be theirs."""
        yield


def _tune(listener: socket.socket) -> None:
    """Set what accepted connections inherit (tcp(7)).

    The kernel ends a connection whose other side takes nothing: neither uvicorn nor asyncio ever would. And it sends at
    once; asyncio sees to that only for sockets that were made with the protocol's number, and otherwise the body waits
    40 ms for the acknowledgement of the head.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    if sys.platform == "linux":
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * STALLED))


@contextlib.asynccontextmanager
async def serve(app: FastAPI, host: str, port: int) -> AsyncIterator[None]:
    """Serve while the context lasts. Raises ApiError if the address cannot be had."""
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        _tune(listener)
    except OSError as error:
        raise ApiError(f"HTTP_HOST={host} HTTP_PORT={port}: {error.strerror}; accepted: a free address") from error
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, lifespan="off", timeout_graceful_shutdown=2
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]), name="http")
    try:
        yield
    finally:
        server.should_exit = True
        await task
