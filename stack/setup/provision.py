"""`crypto-updates provision`: makes what the services need in NATS and MongoDB; safe to run again.

Exits with 0 when both are ready, with 1 when one could not be reached in time, or refuses it.
"""

import asyncio
import contextlib
import logging
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from crypto_updates.bus import claims
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import RefusedError, UnreachableError
from crypto_updates.bus.stream import (
    DURABLE,
    MAX_BYTES,
    OWN_DURABLE,
    STREAM,
    stream_config,
    update_consumer,
    update_stream,
)
from crypto_updates.service import lifecycle
from stack.setup import database, single
from stack.setup.config import ProvisionSettings
from stack.setup.errors import SetupError

log = logging.getLogger(__name__)

SERVER_WAIT_SECONDS = 60.0
# A stream of 2 GiB takes a minute or more.
MOVE_WAIT_SECONDS = 600.0
# With --small. The stream refuses what does not fit, and the worker's outbox keeps it.
SMALLEST_BYTES = 1024**2
REQUESTS = (
    *(f"STREAM.{verb}.{stream}" for verb in ("INFO", "CREATE", "UPDATE") for stream in (STREAM, claims.STREAM)),
    *(
        f"CONSUMER.{verb}.{STREAM}.{durable}"
        for verb in ("INFO", "CREATE", "DURABLE.CREATE")
        for durable in (DURABLE, OWN_DURABLE)
    ),
)


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument(
        "--small", action="store_true", help="make a smaller stream when the NATS server has no room for the usual one"
    )
    parser.add_argument(
        "--consumer",
        action="store_true",
        help="also make the durable consumer `consumer`, for an API server of your own",
    )
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument(
        "--cluster",
        metavar="FOLDER",
        type=Path,
        help="make the hosts in MONGO_URL the members of the replica set, and move in the stream that a single NATS"
        " server has kept in FOLDER",
    )
    ways.add_argument(
        "--single",
        metavar="FOLDER",
        type=Path,
        help="the way back, before the cluster is stopped: the first host in MONGO_URL alone, and the stream in FOLDER",
    )
    options = parser.parse_args(argv)
    if options.single:
        return lifecycle.main(ProvisionSettings, partial(leave, folder=options.single), lasting=False)
    work = partial(provision, small=options.small, consumer=options.consumer, cluster=options.cluster)
    return lifecycle.main(ProvisionSettings, work, lasting=False)


async def provision(settings: ProvisionSettings, *, small: bool, consumer: bool, cluster: Path | None) -> int:
    hosts = settings.mongo_hosts if cluster else ()
    try:
        await asyncio.to_thread(database.provision, settings, SERVER_WAIT_SECONDS, hosts)
        await database.retain(settings)
        durables = [DURABLE, OWN_DURABLE] if consumer else [DURABLE]
        await _provision_nats(settings, SMALLEST_BYTES if small else MAX_BYTES, durables, cluster)
    except (SetupError, UnreachableError) as error:
        log.error("[PROVISION] %s", error)
        return 1
    return 0


async def leave(settings: ProvisionSettings, *, folder: Path) -> int:
    """Make the first host in MONGO_URL the only member, and move the stream to the single NATS server's folder."""
    try:
        await _move_out(settings, folder)
        # Last, so that after a failure the cluster still has all of its members.
        await asyncio.to_thread(database.provision, settings, SERVER_WAIT_SECONDS, settings.mongo_hosts[:1])
    except (SetupError, UnreachableError) as error:
        log.error("[PROVISION] %s; run this again, or start the cluster again, which then takes events", error)
        return 1
    log.info(
        "[PROVISION] Now start the single stack: docker compose -f compose.yaml up --build --wait --remove-orphans"
    )
    return 0


async def _move_out(settings: ProvisionSettings, folder: Path) -> None:
    """Raises SetupError and UnreachableError."""

    async def prepare(connection: Connection) -> None:
        await single.out_of_cluster(connection, folder)
        connection.js = connection.jetstream()

    async with Bus(settings, "provision", prepare) as bus:
        connection = await bus.connection(MOVE_WAIT_SECONDS)
        if connection.js is None:
            raise SetupError(
                f"NATS at {connection.url} is used without JetStream (DELIVERY={settings.delivery}), so the stream"
                " cannot be moved: start all servers of the cluster with JetStream, and set DELIVERY=jetstream"
            )


async def _provision_nats(
    settings: ProvisionSettings, least_bytes: int, durables: Sequence[str], cluster: Path | None
) -> None:
    """Make the streams and the consumers with the settings of this version. Raises UnreachableError."""

    async def prepare(connection: Connection) -> None:
        if cluster:
            await single.into_cluster(connection, cluster, settings)
        js, replicas = connection.jetstream(), settings.stream_replicas
        # First, so that the large stream does not take its room. Again, because an owner's stream may take its subject
        # until it is updated.
        with contextlib.suppress(RefusedError):
            await connection.ask(update_stream(js, claims.stream_config(replicas)), REQUESTS)
        size = await connection.ask(update_stream(js, stream_config(replicas), least_bytes), REQUESTS)
        await connection.ask(update_stream(js, claims.stream_config(replicas)), REQUESTS)
        for durable in durables:
            await connection.ask(update_consumer(js, durable), REQUESTS)
        if size < MAX_BYTES:
            log.warning("[NATS] The server has no room for more: stream %s has %d MiB", STREAM, size // 1024**2)
        connection.js = js

    async with Bus(settings, "provision", prepare) as bus:
        connection = await bus.connection(MOVE_WAIT_SECONDS if cluster else SERVER_WAIT_SECONDS)
        if connection.js is None:
            log.warning("[NATS] No JetStream: there is no stream to make")
            return
    log.info("[NATS] Stream %s and consumer %s are ready", STREAM, " and ".join(durables))
