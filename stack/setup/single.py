"""The NATS server of compose.yaml, whose stream moves into the cluster of compose.cluster.yaml, and back.

A server that joins a cluster removes a stream that the cluster does not know. So the cluster's servers have folders of
their own, and for the time of the move a server is started here on the folder of the single one.
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import RefusedError
from crypto_updates.bus.move import info, move
from crypto_updates.bus.stream import STREAM
from crypto_updates.local.errors import StackError
from crypto_updates.local.servers import NatsServer

log = logging.getLogger(__name__)

# As in nats/accounts.conf.
ACCOUNT = "STORE"
USER = "provision"


async def into_cluster(cluster: Connection, folder: Path, settings: BusSettings) -> None:
    """Raises BusError, or one of LINK_ERRORS."""
    if not _kept(folder).is_dir():
        return
    async with _server(folder) as single:
        messages = await move(single, cluster, STREAM, settings.stream_replicas)
        log.info("[NATS] Stream %s moved into the cluster, with %d messages", STREAM, messages)


async def out_of_cluster(cluster: Connection, folder: Path) -> None:
    """Raises BusError, or one of LINK_ERRORS."""
    async with _server(folder) as single:
        messages = await move(cluster, single, STREAM, 1)
        if messages is not None:
            log.info("[NATS] Stream %s moved out of the cluster, with %d messages", STREAM, messages)


def _kept(folder: Path) -> Path:
    return folder / "jetstream" / ACCOUNT / "streams" / STREAM


@asynccontextmanager
async def _server(folder: Path) -> AsyncIterator[Connection]:
    """A server on the folder. Raises RefusedError when it does not start, or not with the stream that is kept there.

    It leaves the folder as the single server knows it, and after a failure its log.
    """
    is_kept, password = _kept(folder).is_dir(), secrets.token_hex(16)
    user = f'{{ user: {USER}, password: "{password}" }}'
    server = NatsServer(folder, config=f"accounts {{ {ACCOUNT} {{ jetstream: enabled, users: [{user}] }} }}\n")
    async with AsyncExitStack() as closing:
        closing.callback((folder / "nats-server.conf").unlink, missing_ok=True)
        try:
            await asyncio.to_thread(closing.enter_context, server)
        except StackError as error:
            raise RefusedError(f"{folder}: {error}") from error
        connection = Connection(server.url)
        closing.push_async_callback(connection.close)
        await connection.open(BusSettings.load({"NATS_USER": USER, "NATS_PASSWORD": password}), USER)
        if is_kept and await info(connection, STREAM) is None:
            raise RefusedError(f"{_kept(folder)}: the server does not take this for a stream: {_warnings(server.log)}")
        yield connection
    server.log.unlink()


def _warnings(path: Path) -> str:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "; ".join(line.partition("] ")[2] for line in lines if STREAM in line) or f"see {path}"
