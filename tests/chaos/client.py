"""The rig's own connection to a NATS server: never repaired, never left open."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import nats.errors
from nats.aio.client import Client

# Seconds.
TIMEOUT = 3

LINK_ERRORS = (nats.errors.Error, OSError, TimeoutError, ValueError)


async def connect(url: str, on_closed: Callable[[], Awaitable[None]] | None = None) -> Client:
    """Raises one of LINK_ERRORS."""
    client = Client()
    try:
        async with asyncio.timeout(TIMEOUT):
            await client.connect(
                url,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=TIMEOUT,
                ping_interval=2,
                error_cb=_quiet,
                closed_cb=on_closed,
            )
    except BaseException:
        await close(client)
        raise
    return client


async def close(client: Client) -> None:
    # nats-py asserts that a client which is closed has once tried to connect.
    with contextlib.suppress(*LINK_ERRORS, AssertionError):
        async with asyncio.timeout(1):
            await client.close()


async def _quiet(_: Exception) -> None:
    pass
