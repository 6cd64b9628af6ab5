"""The stream of a single NATS server, moved into a cluster of three real ones, and back."""

import asyncio
import contextlib
import random
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import ANY

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import Error as JetStreamError
from nats.js.errors import ServiceUnavailableError

from crypto_updates.bus import move
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.errors import RefusedError
from crypto_updates.bus.event import MSG_ID
from crypto_updates.bus.stream import DURABLE, OWN_DURABLE, STREAM, stream_config, update_consumer, update_stream
from crypto_updates.local import cluster as local
from crypto_updates.local.servers import NatsServer
from stack.setup import single
from tests.support import HANG_SECONDS, soon

ACCOUNTS = "accounts { STORE { jetstream: enabled, users: [{ user: provision, password: right }] } }\n"
SETTINGS = BusSettings.load({"NATS_USER": "provision", "NATS_PASSWORD": "right", "STREAM_REPLICAS": "3"})
# Each of 12 kB: more than the server sends before it waits for an answer.
EVENTS, DELIVERED, ACKNOWLEDGED, REMOVED = 1000, 15, 10, 500
WHOLE = EVENTS - 1, 1, EVENTS
# Up to where each consumer has acknowledged, and how many events it has yet to.
PLACES = [(ACKNOWLEDGED, EVENTS - 1 - ACKNOWLEDGED), (0, EVENTS - 1)]
# In the order of the requests: ever more of the move was made before it was stopped.
STOPS = (r"STREAM\.UPDATE", r"SNAPSHOT\.RESTORE", r"SNAPSHOT\.RESTORE.* 0$", r"STREAM\.LEADER\.STEPDOWN")


def body(number: int) -> bytes:
    """Its filler is drawn from the number, so that it does not compress."""
    filler = random.Random(number).randbytes(6000).hex()
    return f'{{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","filler":"{filler}"}}'.encode()


BODY = body(EVENTS - 1)


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
            with contextlib.suppress(JetStreamError, TimeoutError):
                await connection.jetstream(1).account_info()
                return connection
            await asyncio.sleep(0.05)


@pytest.fixture
async def cluster(servers: list[NatsServer]) -> AsyncIterator[Connection]:
    connection = await connected(servers[0])
    yield connection
    for name in await connection.jetstream().streams_info():
        await connection.jetstream().delete_stream(str(name.config.name))
    await connection.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the single server has kept: events, of which an API stub has some and an operator has removed one."""
    with NatsServer(folder := tmp_path_factory.mktemp("kept"), config=ACCOUNTS) as server:
        asyncio.run(fill(server))
    return folder


async def fill(server: NatsServer) -> None:
    connection = await connected(server)
    js = connection.jetstream()
    await update_stream(js, stream_config(1))
    for durable in (DURABLE, OWN_DURABLE):
        await update_consumer(js, durable)
    acks = [await js.publish_async("crypto.updates", body(n), headers={MSG_ID: str(n)}) for n in range(EVENTS)]
    await asyncio.gather(*acks)
    subscription = await js.pull_subscribe_bind(DURABLE, STREAM)
    for message in (await subscription.fetch(DELIVERED))[:ACKNOWLEDGED]:
        await message.ack_sync(timeout=HANG_SECONDS)
    await js.delete_msg(STREAM, REMOVED)
    await connection.close()


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    shutil.copytree(kept / "jetstream", tmp_path / "jetstream")
    return tmp_path


@pytest.fixture(autouse=True)
def synced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether the folder had the stream, each time that the disks were synced. It takes long on a busy machine."""
    found: list[bool] = []
    monkeypatch.setattr("os.sync", lambda: found.append(has_stream(folder)))
    return found


def has_stream(folder: Path) -> bool:
    return (folder / "jetstream" / "STORE" / "streams" / STREAM).exists()


async def state(connection: Connection) -> tuple[object, ...]:
    """Of the stream and its consumers, and one event as it is stored."""
    js = connection.jetstream()
    stream, last = await js.stream_info(STREAM), await js.get_msg(STREAM, EVENTS)
    consumers = [await js.consumer_info(STREAM, durable) for durable in (DURABLE, OWN_DURABLE)]
    places = [
        (i.ack_floor and i.ack_floor.stream_seq, (i.num_ack_pending or 0) + (i.num_pending or 0)) for i in consumers
    ]
    figures = stream.state.messages, stream.state.first_seq, stream.state.last_seq
    return figures, places, last.data, last.headers, last.time


async def counted(connection: Connection, places: list[tuple[int, int]]) -> tuple[object, ...]:
    """The state, once the consumers' leaders have counted what the stream's leader has acknowledged."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            found = await state(connection)
            if found[1] == places:
                return found
            await asyncio.sleep(0.05)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def of_single(folder: Path) -> tuple[object, ...]:
    """The state in the folder, and the largest event that the stream takes, -1 for any."""
    with NatsServer(folder, config=ACCOUNTS) as server:
        connection = await connected(server)
        found, info = await state(connection), await connection.jetstream().stream_info(STREAM)
        await connection.close()
    return *found[:2], info.config.max_msg_size


async def test_a_stream_keeps_everything_on_its_way_into_the_cluster_and_back(
    cluster: Connection, folder: Path, servers: list[NatsServer], synced: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        ages = compared(patch)
        await single.into_cluster(cluster, folder, SETTINGS)
    assert (synced, has_stream(folder)) == ([True], False)
    # The cluster removes a younger one when it gives up an earlier restore.
    assert ages.pop() > timedelta(seconds=5)
    assert await counted(cluster, PLACES) == (WHOLE, PLACES, BODY, {MSG_ID: str(EVENTS - 1)}, ANY)
    with pytest.raises(JetStreamError, match="maximum messages exceeded"):
        await cluster.jetstream().publish("crypto.updates", BODY)
    await update_stream(cluster.jetstream(), stream_config(3))  # as provision does; it opens the stream
    assert move.MARK not in str((await cluster.jetstream().stream_info(STREAM)).config.metadata)
    assert (await cluster.jetstream().publish("crypto.updates", BODY, headers={MSG_ID: "7"})).duplicate
    await cluster.jetstream().publish("crypto.updates", BODY, headers={MSG_ID: "in the cluster"})
    kept = await counted(cluster, [(acknowledged, pending + 1) for acknowledged, pending in PLACES])

    await gets_back_what_it_lost(servers[2])
    await single.out_of_cluster(cluster, folder)
    assert await cluster.jetstream().streams_info() == []
    assert names(folder) == {"jetstream"}
    with NatsServer(folder, config=ACCOUNTS) as server:
        connection = await connected(server)
        assert await state(connection) == kept
        await update_stream(connection.jetstream(), stream_config(1))
        again = await connection.jetstream().publish("crypto.updates", BODY, headers={MSG_ID: "in the cluster"})
        assert again.duplicate
        await connection.close()


def compared(patch: pytest.MonkeyPatch) -> list[timedelta]:
    """The age of the copy, each time that it is compared with the original."""
    compare, ages = move._difference, list[timedelta]()

    async def compare_and_tell(source: Connection, target: Connection, stream: str) -> list[str]:
        created = (await target.jetstream().stream_info(stream)).created
        assert created
        ages.append(datetime.now(UTC) - created)
        return await compare(source, target, stream)

    patch.setattr(move, "_difference", compare_and_tell)
    return ages


async def gets_back_what_it_lost(server: NatsServer) -> None:
    """The others give it all events, when it starts without what it had."""
    server.stop()
    shutil.rmtree(server.data / "jetstream")
    server.start()
    assert await soon(lambda: httpx.get(f"{server.monitor_url}/jsz", trust_env=False).json()["messages"] == EVENTS)


async def test_the_chunks_are_small_so_that_a_busy_machine_stores_each_before_the_server_gives_up(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, sizes = Client.request, list[int]()

    async def measured(client: Client, subject: str, payload: bytes = b"", timeout: float = 1) -> Msg:  # noqa: ASYNC109 - nats-py's
        if ".SNAPSHOT.RESTORE." in subject:
            sizes.append(len(payload))
        return await request(client, subject, payload, timeout)

    monkeypatch.setattr(Client, "request", measured)
    monkeypatch.setattr(move, "STALLED_SECONDS", 0.0)  # no restore was stopped before
    await single.into_cluster(cluster, folder, SETTINGS)
    assert max(sizes) == move.CHUNK_BYTES
    assert sum(sizes) > 8 << 20  # the server waits for answers to what it has sent


async def test_a_move_that_was_stopped_anywhere_is_completed_by_the_next(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped as by a kill: what is stopped asks for nothing more, not even to tidy up."""
    for point in STOPS:
        with monkeypatch.context() as patch:
            stop_at(patch, point)
            with pytest.raises(RefusedError, match="stopped"):
                await single.into_cluster(cluster, folder, SETTINGS)
        assert has_stream(folder), point
    monkeypatch.setattr(move, "STALLED_SECONDS", 0.0)  # the restore has ended this time
    await single.into_cluster(cluster, folder, SETTINGS)
    assert (await counted(cluster, PLACES))[0] == WHOLE
    assert not has_stream(folder)


async def test_a_move_that_was_stopped_may_be_given_up(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, STOPS[-1])
        with pytest.raises(RefusedError, match="stopped"):
            await single.into_cluster(cluster, folder, SETTINGS)
    await single.out_of_cluster(cluster, folder)
    assert await cluster.jetstream().streams_info() == []
    assert (await of_single(folder))[:2] == (WHOLE, PLACES)


def stop_at(patch: pytest.MonkeyPatch, point: str) -> None:
    """Let no request pass from this one on. A request is its subject, and the bytes of its body."""
    request, is_stopped = Client.request, False

    async def passing(client: Client, subject: str, payload: bytes = b"", timeout: float = 1) -> Msg:  # noqa: ASYNC109 - nats-py's
        nonlocal is_stopped
        is_stopped = is_stopped or re.search(point, f"{subject} {len(payload)}") is not None
        if is_stopped:
            raise RefusedError("stopped")
        return await request(client, subject, payload, timeout)

    patch.setattr(Client, "request", passing)


async def test_a_copy_that_loses_an_event_is_removed_again_and_the_stream_stays_where_it_was(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    def sync_and_lose() -> None:
        losing = cluster.jetstream().delete_msg(STREAM, REMOVED + 1)
        asyncio.run_coroutine_threadsafe(losing, loop).result(HANG_SECONDS)

    monkeypatch.setattr("os.sync", sync_and_lose)
    monkeypatch.setattr(move, "STALLED_SECONDS", 0.0)  # the restore has ended
    monkeypatch.setattr(move, "AGREE_SECONDS", 0.0)
    for _ in range(2):
        with pytest.raises(RefusedError, match=f"messages is {EVENTS - 2} and not {EVENTS - 1}"):
            await single.into_cluster(cluster, folder, SETTINGS)
        assert await cluster.jetstream().streams_info() == []
    assert await of_single(folder) == (WHOLE, PLACES, -1)


async def test_a_copy_may_be_consumed_before_it_is_compared(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spread = move._spread

    async def spread_and_consume(target: Connection, stream: str, replicas: int) -> None:
        await spread(target, stream, replicas)
        await consume_one(target)

    monkeypatch.setattr(move, "_spread", spread_and_consume)
    monkeypatch.setattr(move, "STALLED_SECONDS", 0.0)  # the restore has ended
    monkeypatch.setattr(move, "COPIES", 1)
    await single.into_cluster(cluster, folder, SETTINGS)
    assert (await counted(cluster, [PLACES[0], (1, EVENTS - 2)]))[0] == WHOLE
    assert not has_stream(folder)


async def test_a_copy_in_which_a_consumer_starts_anew_is_made_once_more(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "STALLED_SECONDS", 0.0)  # the restore has ended
    left = starting_anew(monkeypatch, copies=1)
    await single.into_cluster(cluster, folder, SETTINGS)
    assert (left, (await counted(cluster, PLACES))[0]) == ([], WHOLE)


async def test_a_copy_in_which_a_consumer_starts_anew_again_and_again_is_removed(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "STALLED_SECONDS", 0.0)  # the restore has ended
    monkeypatch.setattr(move, "AGREE_SECONDS", 0.0)
    left = starting_anew(monkeypatch, copies=3)
    with pytest.raises(RefusedError, match=f"ack_floor of api_stub is (0|None) and not {ACKNOWLEDGED}"):
        await single.into_cluster(cluster, folder, SETTINGS)
    assert (len(left), await cluster.jetstream().streams_info()) == (1, [])
    assert await of_single(folder) == (WHOLE, PLACES, -1)


def starting_anew(patch: pytest.MonkeyPatch, copies: int) -> list[int]:
    """Have a consumer of the first copies forget its place, as a server may do it. The result: the copies to come."""
    spread, left = move._spread, list(range(copies))

    async def spread_and_forget(target: Connection, stream: str, replicas: int) -> None:
        await spread(target, stream, replicas)
        if left:
            left.pop()
            await target.jetstream().delete_consumer(stream, DURABLE)
            await update_consumer(target.jetstream(), DURABLE)

    patch.setattr(move, "_spread", spread_and_forget)
    return left


async def test_a_copy_that_lacks_what_was_acknowledged_meanwhile_is_refused(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await moved_in(cluster, folder, monkeypatch)
    copy = move._copy

    async def copy_and_consume(source: Connection, target: Connection, kept: move.Answer) -> None:
        await copy(source, target, kept)
        await consume_one(source)

    monkeypatch.setattr(move, "_copy", copy_and_consume)
    with pytest.raises(RefusedError, match="which keeps it: ack_floor of consumer is 1 and not 2"):
        await single.out_of_cluster(cluster, folder)
    assert (await counted(cluster, [PLACES[0], (2, EVENTS - 3)]))[0] == WHOLE
    assert not has_stream(folder)


async def test_a_consumer_of_which_no_server_tells_is_not_left_behind(
    cluster: Connection, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await moved_in(cluster, folder, monkeypatch)
    ask_for = move._ask_for

    async def ask_and_miss(connection: Connection, request: str, body: move.Answer | None = None) -> move.Answer | None:
        """As a cluster answers in which the consumer has no leader, or no server that runs."""
        answer = await ask_for(connection, request, body)
        if answer and connection is cluster and request.startswith("CONSUMER.LIST."):
            answer["consumers"][0]["ack_floor"]["stream_seq"] = 0
            answer["missing"] = [answer["consumers"][0]["name"]]
        return answer

    monkeypatch.setattr(move, "_ask_for", ask_and_miss)
    with pytest.raises(RefusedError, match=f"which keeps it: ack_floor of api_stub is {ACKNOWLEDGED} and not None"):
        await single.out_of_cluster(cluster, folder)
    assert not has_stream(folder)


async def moved_in(cluster: Connection, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Have the stream in the cluster, and the next move wait for nothing."""
    patch.setattr(move, "STALLED_SECONDS", 0.0)  # the restore has ended
    await single.into_cluster(cluster, folder, SETTINGS)
    patch.setattr(move, "AGREE_SECONDS", 0.0)


async def consume_one(connection: Connection) -> None:
    subscription = await connection.jetstream().pull_subscribe_bind(OWN_DURABLE, STREAM)
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            try:
                (message,) = await subscription.fetch(1, timeout=HANG_SECONDS)
                break
            except ServiceUnavailableError:  # in a cluster, the consumer may have no leader yet
                await asyncio.sleep(0.05)
    await message.ack_sync(timeout=HANG_SECONDS)


async def test_a_stream_is_open_again_also_when_its_copy_cannot_be_removed(
    cluster: Connection, servers: list[NatsServer], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = move._finish

    async def finish_and_cut(target: Connection, subject: str) -> None:
        await finish(target, subject)
        target.cut()

    monkeypatch.setattr(move, "_finish", finish_and_cut)
    lost = await connected(servers[0])
    with pytest.raises(LINK_ERRORS):
        await single.into_cluster(lost, folder, SETTINGS)
    await lost.close()
    assert len(await cluster.jetstream().streams_info()) == 1
    assert await of_single(folder) == (WHOLE, PLACES, -1)


async def test_another_stream_of_that_name_is_left_alone_and_so_is_the_one_in_the_folder(
    cluster: Connection, folder: Path
) -> None:
    await update_stream(cluster.jetstream(), stream_config(3))
    await cluster.jetstream().publish("crypto.updates", BODY)
    with pytest.raises(RefusedError, match=f"has another stream {STREAM} than"):
        await single.into_cluster(cluster, folder, SETTINGS)
    assert (await cluster.jetstream().stream_info(STREAM)).state.messages == 1
    assert await of_single(folder) == (WHOLE, PLACES, -1)


async def test_a_stream_in_the_folder_that_cannot_be_read_is_told_and_not_taken_for_none(
    cluster: Connection, folder: Path
) -> None:
    (folder / "jetstream" / "STORE" / "streams" / STREAM / "meta.sum").write_text("other", encoding="utf-8")
    with pytest.raises(RefusedError, match=f"{STREAM}: the server does not take this .*checksums do not match"):
        await single.into_cluster(cluster, folder, SETTINGS)
    with pytest.raises(RefusedError, match="checksums do not match"):
        await single.out_of_cluster(cluster, folder)
    assert names(folder) == {"jetstream", "nats-server.log"}
    assert await cluster.jetstream().streams_info() == []


async def test_nothing_moves_from_a_folder_without_a_stream(cluster: Connection, tmp_path: Path) -> None:
    await single.into_cluster(cluster, tmp_path / "none", SETTINGS)
    assert await cluster.jetstream().streams_info() == []
