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

from pydantic import SecretStr

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import RefusedError
from crypto_updates.bus.move import move
from crypto_updates.bus.stream import STREAM
from crypto_updates.local.errors import StackError
from crypto_updates.local.servers import NatsServer

log = logging.getLogger(__name__)

# As in nats/accounts.conf.
ACCOUNT = "STORE"
USER = "provision"


async def into_cluster(cluster: Connection, folder: Path, settings: BusSettings) -> None:
    """Raises BusError, or one of LINK_ERRORS."""
    if not (folder / "jetstream" / ACCOUNT / "streams" / STREAM).is_dir():
        return
    async with _server(folder, settings) as single:
        _tell("into the cluster", await move(single, cluster, STREAM, settings.stream_replicas))


async def out_of_cluster(cluster: Connection, folder: Path, settings: BusSettings) -> None:
    """Raises BusError, or one of LINK_ERRORS."""
    async with _server(folder, settings) as single:
        _tell("out of the cluster", await move(cluster, single, STREAM, 1))


def _tell(where: str, messages: int | None) -> None:
    if messages is not None:
        log.info("[NATS] Stream %s moved %s, with %d messages", STREAM, where, messages)


@asynccontextmanager
async def _server(folder: Path, settings: BusSettings) -> AsyncIterator[Connection]:
    password = secrets.token_hex(16)
    user = f'{{ user: {USER}, password: "{password}" }}'
    config = f"accounts {{ {ACCOUNT} {{ jetstream: enabled, users: [{user}] }} }}\n"
    async with AsyncExitStack() as closing:
        server = NatsServer(folder, config=config)
        closing.callback(_tidy, folder)
        try:
            await asyncio.to_thread(closing.enter_context, server)
        except StackError as error:
            raise RefusedError(f"{folder}: {error}") from error
        connection = Connection(server.url)
        closing.push_async_callback(connection.close)
        login = {"nats_user": USER, "nats_password": SecretStr(password), "nats_ca": None, "nats_token": None}
        await connection.open(settings.model_copy(update=login), USER)
        yield connection


def _tidy(folder: Path) -> None:
    """Leave the folder as the single server knows it."""
    for name in ("nats-server.conf", "nats-server.log"):
        (folder / name).unlink(missing_ok=True)
