"""The rig's own connection to a NATS server: never repaired, never left open."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from crypto_updates.bus.stream import DURABLE, STREAM

# Seconds.
TIMEOUT = 3

T = TypeVar("T")
Question = Callable[[JetStreamContext], Awaitable[T]]

LINK_ERRORS = (nats.errors.Error, OSError, TimeoutError, ValueError)


def ask(urls: Sequence[str], question: Question[T]) -> T | None:
    """What the first of the servers says that has an answer."""
    for url in urls:
        with contextlib.suppress(*LINK_ERRORS):
            return asyncio.run(_answer(url, question))
    return None


async def leader(js: JetStreamContext) -> str | None:
    """The name of the server that leads the stream."""
    cluster = (await js.stream_info(STREAM)).cluster
    return cluster.leader if cluster else None


async def waiting(js: JetStreamContext) -> bool:
    """True while pull requests of an API stub wait for events."""
    return bool((await js.consumer_info(STREAM, DURABLE)).num_waiting)


async def connect(url: str, on_closed: Callable[[], Awaitable[None]] | None = None, *, within: int = TIMEOUT) -> Client:
    """Raises one of LINK_ERRORS."""
    client = Client()
    try:
        async with asyncio.timeout(within):
            await client.connect(
                url,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=within,
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


async def _answer(url: str, question: Question[T]) -> T:
    nc = await connect(url)
    try:
        return await question(nc.jetstream(timeout=5))
    finally:
        await close(nc)


async def _quiet(_: Exception) -> None:
    pass
