"""The stream of a single NATS server, moved into a cluster of three real ones, and back."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from nats.js.errors import Error as JetStreamError

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.errors import RefusedError
from crypto_updates.bus.event import MSG_ID
from crypto_updates.bus.stream import DURABLE, OWN_DURABLE, STREAM, stream_config, update_consumer, update_stream
from crypto_updates.local import cluster as local
from crypto_updates.local.servers import NatsServer
from stack.setup import single
from tests.support import HANG_SECONDS

ACCOUNTS = "accounts { STORE { jetstream: enabled, users: [{ user: provision, password: right }] } }\n"
SETTINGS = BusSettings.load({"NATS_USER": "provision", "NATS_PASSWORD": "right", "STREAM_REPLICAS": "3"})
EVENTS, ACKNOWLEDGED, REMOVED = 1000, 10, 500
# More than the server sends before it waits to be answered.
BODY = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","filler":"' + b"x" * 12_000 + b'"}'


@pytest.fixture(scope="module")
def servers() -> Iterator[list[NatsServer]]:
    with ExitStack() as closing:
        yield [closing.enter_context(server) for server in local.nats_servers(config=ACCOUNTS)]


async def connected(server: NatsServer) -> Connection:
    """When JetStream answers, too, which in a cluster needs a leader."""
    connection = Connection(server.url)
    await connection.open(SETTINGS, "test")
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                await connection.jetstream(1).account_info()
            except (JetStreamError, TimeoutError):
                await asyncio.sleep(0.05)
            else:
                return connection


@pytest.fixture
async def cluster(servers: list[NatsServer]) -> AsyncIterator[Connection]:
    connection = await connected(servers[0])
    yield connection
    for name in await connection.jetstream().streams_info():
        await connection.jetstream().delete_stream(str(name.config.name))
    await connection.close()


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """What the single server has kept: events, of which an API stub has some and an operator has removed one."""
    with NatsServer(tmp_path, config=ACCOUNTS) as server:
        connection = await connected(server)
        js = connection.jetstream()
        await update_stream(js, stream_config(1))
        for durable in (DURABLE, OWN_DURABLE):
            await update_consumer(js, durable)
        acks = [await js.publish_async("crypto.updates", BODY, headers={MSG_ID: str(n)}) for n in range(EVENTS)]
        await asyncio.gather(*acks)
        subscription = await js.pull_subscribe_bind(DURABLE, STREAM)
        for message in await subscription.fetch(ACKNOWLEDGED):
            await message.ack_sync()
        await js.delete_msg(STREAM, REMOVED)
        await connection.close()
    return tmp_path


async def state(connection: Connection) -> tuple[object, ...]:
    """Of the stream and its consumers, and one event as it is stored."""
    js = connection.jetstream()
    stream, last = await js.stream_info(STREAM), await js.get_msg(STREAM, EVENTS)
    consumers = [await js.consumer_info(STREAM, durable) for durable in (DURABLE, OWN_DURABLE)]
    floors = [(info.ack_floor and info.ack_floor.stream_seq, info.num_pending) for info in consumers]
    figures = stream.state.messages, stream.state.first_seq, stream.state.last_seq
    return figures, floors, last.data, last.headers, last.time


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_stream_keeps_everything_on_its_way_into_the_cluster_and_back(
    cluster: Connection, folder: Path
) -> None:
    await single.into_cluster(cluster, folder, SETTINGS)
    moved = await state(cluster)
    assert moved[:2] == ((EVENTS - 1, 1, EVENTS), [(ACKNOWLEDGED, EVENTS - 1 - ACKNOWLEDGED), (0, EVENTS - 1)])
    assert moved[2:4] == (BODY, {MSG_ID: str(EVENTS - 1)})
    with pytest.raises(JetStreamError, match="message size exceeds maximum allowed"):
        await cluster.jetstream().publish("crypto.updates", BODY)
    await update_stream(cluster.jetstream(), stream_config(3))  # as provision does; it opens the stream
    assert (await cluster.jetstream().publish("crypto.updates", BODY, headers={MSG_ID: "7"})).duplicate
    await cluster.jetstream().publish("crypto.updates", BODY, headers={MSG_ID: "in the cluster"})
    kept = await state(cluster)

    await single.out_of_cluster(cluster, folder, SETTINGS)
    assert await cluster.jetstream().streams_info() == []
    assert names(folder) == ["jetstream"]
    with NatsServer(folder, config=ACCOUNTS) as server:
        connection = await connected(server)
        assert await state(connection) == kept
        await update_stream(connection.jetstream(), stream_config(1))
        again = await connection.jetstream().publish("crypto.updates", BODY, headers={MSG_ID: "in the cluster"})
        assert again.duplicate
        await connection.close()


async def test_a_move_that_was_stopped_before_its_end_is_completed_by_the_next(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stopped(*_: object) -> None:
        raise RefusedError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr("nats.js.JetStreamContext.delete_stream", stopped)
        with pytest.raises(RefusedError, match="stopped"):
            await single.into_cluster(cluster, folder, SETTINGS)
    before = await state(cluster)
    await single.into_cluster(cluster, folder, SETTINGS)
    assert await state(cluster) == before
    assert not (folder / "jetstream" / "STORE" / "streams" / STREAM).exists()


async def test_another_stream_of_that_name_is_left_alone_and_so_is_the_one_in_the_folder(
    cluster: Connection, folder: Path
) -> None:
    await update_stream(cluster.jetstream(), stream_config(3))
    with pytest.raises(RefusedError, match=f"has another stream {STREAM}: remove one of the two"):
        await single.into_cluster(cluster, folder, SETTINGS)
    assert (await cluster.jetstream().stream_info(STREAM)).state.messages == 0
    assert (folder / "jetstream" / "STORE" / "streams" / STREAM).exists()


async def test_nothing_moves_from_a_folder_without_a_stream(cluster: Connection, tmp_path: Path) -> None:
    await single.into_cluster(cluster, tmp_path, SETTINGS)
    assert names(tmp_path) == []
    assert await cluster.jetstream().streams_info() == []
