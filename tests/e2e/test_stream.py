"""The event stream: every listener gets each event once, whoever stored it, and no client holds up another."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple, Self

import httpx
import pytest
from nats.aio.client import Client
from pymongo import MongoClient

from crypto_updates.bus.event import text
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod
from tests.e2e.conftest import Stack, Standalone
from tests.support import HANG_SECONDS, eventually, settled, soon

START = datetime(2026, 1, 1, tzinfo=UTC)


class Message(NamedTuple):
    """`at` is by time.monotonic()."""

    kind: str
    data: Any
    at: float


class Stub:
    def __init__(self, stack: Stack, port: int | None = None, **environ: str) -> None:
        self.port = port or ports.free()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: Process = stack.run("api_stub", HTTP_PORT=str(self.port), **environ)
        self.process.wait_for_line("[HTTP] Listening")
        self.process.wait_for_line("[NATS] Connected")

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", trust_env=False, timeout=HANG_SECONDS)

    def metric(self, name: str) -> float:
        lines = self.get("/metrics").text.splitlines()
        return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])

    def clients(self) -> float:
        return self.metric("crypto_stream_clients")


class Listener:
    """A client of the event stream, which keeps what it is told."""

    def __init__(self, stub: Stub, **headers: str) -> None:
        self.messages: list[Message] = []
        self._stub = stub
        self._url = f"{stub.url}/events/stream"
        self._headers = headers
        self._open = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listen())
        async with asyncio.timeout(HANG_SECONDS):
            await self._open.wait()
        # A client may join a little before the change stream is open, and then misses what is stored until it is.
        assert await soon(lambda: self._stub.metric("crypto_stream_open") == 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError, httpx.HTTPError):
            await self._task

    @property
    def events(self) -> list[str]:
        return [message.data["timestamp"] for message in self.messages if message.kind == "message"]

    async def hears(self, count: int) -> bool:
        return await soon(lambda: len(self.events) >= count)

    async def told(self, kind: str) -> bool:
        return await soon(lambda: any(message.kind == kind for message in self.messages))

    async def _listen(self) -> None:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=HANG_SECONDS) as client,
            client.stream("GET", self._url, headers=self._headers) as answer,
        ):
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            async for message in parsed(answer.aiter_lines()):
                self._open.set()
                self.messages.append(message)


async def parsed(lines: AsyncIterator[str]) -> AsyncIterator[Message]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif fields:
            data = json.loads(fields["data"]) if "data" in fields else None
            kind = fields.get("event", "message" if "data" in fields else "hello")
            yield Message(kind, data, time.monotonic())
            fields = {}


@pytest.fixture
def stub(stack: Stack) -> Stub:
    return Stub(stack)


async def publish(publisher: Client, first: int, count: int) -> list[str]:
    """Publish so many events, one a minute, and return their times."""
    times = [text(START + timedelta(minutes=first + n)) for n in range(count)]
    for at in times:
        body = json.dumps({"event": "CRYPTO_UPDATE", "timestamp": at}).encode()
        await publisher.publish("crypto.updates", body, headers={"Nats-Msg-Id": f"test@{at}"})
    await settled(publisher)
    return times


async def test_an_event_is_told_within_a_second_whoever_stored_it(stack: Stack, stub: Stub) -> None:
    seconds = []
    async with Listener(stub) as listener:
        for number in range(9):
            at = START + timedelta(minutes=number)
            begin = time.monotonic()
            # As another API stub would store it, unknown to this one.
            stack.events.insert_one({"_id": f"other@{number}", "timestamp": at})
            assert await listener.hears(number + 1)
            seconds.append(time.monotonic() - begin)
        assert listener.events == [text(START + timedelta(minutes=number)) for number in range(9)]
    # Seven of the nine: a machine that stands still makes one or two late.
    assert sorted(seconds)[6] < 1, seconds


async def test_an_event_is_told_as_it_is_stored(stub: Stub, publisher: Client) -> None:
    async with Listener(stub) as listener:
        await publish(publisher, 0, 1)
        assert await listener.hears(1)
        told = next(message for message in listener.messages if message.kind == "message")
        stored = await asyncio.to_thread(stub.get, "/events")
        assert told.data == stored.json()["events"][0]


async def test_a_very_large_event_is_told_without_its_content(stub: Stub, publisher: Client) -> None:
    body = {"event": "CRYPTO_UPDATE", "timestamp": text(START), "source": "a", "data": "x" * 300_000}
    async with Listener(stub) as listener:
        await publisher.publish("crypto.updates", json.dumps(body).encode(), headers={"Nats-Msg-Id": "large"})
        assert await listener.hears(1)
    told = next(message.data for message in listener.messages if message.kind == "message")
    assert told["omitted"] > 300_000
    assert (told["_id"], told["source"], told["timestamp"]) == ("large", "a", text(START))
    assert "data" not in told


async def test_who_comes_back_gets_what_is_stored_from_then_on_and_nothing_older(stub: Stub, publisher: Client) -> None:
    async with Listener(stub) as listener:
        await publish(publisher, 0, 3)
        assert await listener.hears(3)
    async with Listener(stub, **{"Last-Event-ID": "0"}) as second:
        times = await publish(publisher, 3, 5)
        assert await second.hears(5)
        assert sorted(second.events) == times
        assert not any(message.kind == "skipped" for message in second.messages)


async def test_the_first_thing_told_is_the_state(stub: Stub) -> None:
    async with Listener(stub) as listener:
        assert await listener.told("state")
        assert [message.kind for message in listener.messages[:2]] == ["hello", "state"]


async def test_the_state_is_told_every_two_seconds(stub: Stub) -> None:
    async with Listener(stub) as listener:

        def told() -> list[Message]:
            return [message for message in list(listener.messages) if message.kind == "state"]

        def is_regular() -> bool:
            """Whether three in a row came two seconds apart. A machine that stands still makes some late."""
            steps = [1 < later.at - earlier.at < 3 for earlier, later in pairwise(told())]
            return (True, True) in pairwise(steps)

        assert await soon(is_regular)
        state = told()[-1].data
    assert state["mongo"]["ok"]
    assert state["nats"]["ok"]


async def test_after_a_restart_of_mongodb_events_are_told_or_said_to_be_skipped(
    stack: Stack, publisher: Client
) -> None:
    with Mongod() as mongod:
        stub = await asyncio.to_thread(Stub, stack, None, MONGO_URL=mongod.url)
        async with Listener(stub) as listener:
            assert await listener.told("state")
            await asyncio.to_thread(mongod.kill)
            times = await publish(publisher, 0, 5)
            await asyncio.to_thread(mongod.restart)

            def told() -> bool:
                return sorted(listener.events) == times or any(m.kind == "skipped" for m in listener.messages)

            assert await soon(told)
            (last,) = await publish(publisher, 5, 1)
            assert await soon(lambda: last in listener.events)
        await asyncio.to_thread(stub.process.stop)


async def test_after_the_collection_is_dropped_events_are_stored_and_told_and_the_service_stops(
    stack: Stack, stub: Stub, publisher: Client
) -> None:
    async with Listener(stub) as listener:
        await publish(publisher, 0, 1)
        assert await listener.hears(1)
        await asyncio.to_thread(stack.events.drop)
        await publish(publisher, 1, 1)
        assert await soon(lambda: stack.events.count_documents({}) == 1)
        assert await listener.told("skipped")
        (last,) = await publish(publisher, 2, 1)
        assert await soon(lambda: last in listener.events)
        assert await soon(lambda: stub.get("/readyz").status_code == 200)
    assert await asyncio.to_thread(stub.process.stop) == 0
    assert not [line for line in stub.process.lines if "Traceback" in line]


async def test_without_a_replica_set_each_event_is_told_once_too(
    stack: Stack, standalone: Standalone, publisher: Client
) -> None:
    name = stack.events.database.name
    stub = Stub(stack, MONGO_URL=standalone.url)
    with MongoClient[dict[str, Any]](standalone.url, directConnection=True) as client:
        async with Listener(stub) as listener:
            expected = await publish(publisher, 0, 3)
            assert await listener.hears(3)
            client[name].events.insert_one({"_id": "other@1", "timestamp": START + timedelta(minutes=3)})
            expected += [text(START + timedelta(minutes=3))]
            assert await listener.hears(4)
            client[name].events.delete_many({"_id": "other@1"})
            expected += await publish(publisher, 4, 100)
            assert await listener.hears(104)
            assert sorted(listener.events) == expected
            listener.messages.clear()
            await publish(publisher, 104, 1000)
            assert await listener.told("skipped")
        client.drop_database(name)


@contextlib.contextmanager
def stalled(stub: Stub) -> Iterator[socket.socket]:
    """A client that asks for the stream and reads nothing of it."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", stub.port))
        client.sendall(b"GET /events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield client


async def publish_large(publisher: Client, number: int) -> None:
    body = {"event": "CRYPTO_UPDATE", "timestamp": text(START + timedelta(minutes=number)), "x": "x" * 100_000}
    await publisher.publish("crypto.updates", json.dumps(body).encode())


async def test_four_clients_that_do_not_read_hold_up_neither_a_fifth_nor_storing(
    stack: Stack, stub: Stub, publisher: Client
) -> None:
    async with Listener(stub) as fifth:
        with contextlib.ExitStack() as stalling:
            for _ in range(4):
                stalling.enter_context(stalled(stub))
            assert await soon(lambda: stub.clients() == 5)
            # Each is a chunk, and together they are more than the kernel and a client's queue hold.
            for number in range(24):
                await publish_large(publisher, number)
                assert await fifth.hears(number + 1)
            assert stack.events.count_documents({}) == 24


@pytest.mark.timeout(120)
async def test_a_client_that_does_not_read_is_dropped_and_the_others_are_served(stub: Stub, publisher: Client) -> None:
    async with Listener(stub) as listener:
        with stalled(stub):
            assert await soon(lambda: stub.clients() == 2)
            for number in range(60):
                await publish_large(publisher, number)
                await asyncio.sleep(0.02)  # the stream carries 100 events a second
            assert await soon(lambda: stub.clients() == 1, 60)
        assert await listener.hears(60)
    await asyncio.to_thread(stub.process.stop)
    assert not [line for line in stub.process.lines if "Traceback" in line or "ERROR" in line]


async def test_more_clients_than_there_may_be_from_an_address_are_refused_until_one_leaves(stub: Stub) -> None:
    asked = b"GET /events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
    open_ = [await asyncio.open_connection("127.0.0.1", stub.port) for _ in range(250)]
    try:
        for _, writer in open_:
            writer.write(asked)
        assert await soon(lambda: stub.clients() == 250)
        refused = await asyncio.to_thread(stub.get, "/events/stream")
        assert refused.status_code == 429
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Retry-After"] == "5"
        assert "250 event streams are open from 127.0.0.1" in refused.json()["detail"]
        open_.pop()[1].close()
        assert await soon(lambda: stub.clients() == 249)
        async with Listener(stub) as listener:
            assert await listener.told("state")
    finally:
        for _, writer in open_:
            writer.close()


async def test_sigterm_ends_open_streams_and_the_service_at_once(stub: Stub) -> None:
    async with Listener(stub) as listener:
        assert await listener.told("state")
        with stalled(stub):
            assert await soon(lambda: stub.clients() == 2)
            begin = time.monotonic()
            assert await asyncio.to_thread(stub.process.stop) == 0
            assert time.monotonic() - begin < 4
    assert not [line for line in stub.process.lines if "Traceback" in line or "ERROR" in line]


async def test_when_more_is_stored_than_is_sent_the_rest_is_said_to_be_skipped(
    stub: Stub, stack: Stack, publisher: Client
) -> None:
    async with Listener(stub) as listener:
        await publish(publisher, 0, 5000)
        assert await listener.told("skipped")
        assert await soon(lambda: stack.events.count_documents({}) == 5000)
        later: list[str] = []
        # What is stored before the stream has caught up is skipped, too.
        while not await soon(lambda: {*later} & {*listener.events}, 0.2):
            later.extend(await publish(publisher, 5000 + len(later), 1))
        assert len(listener.events) == len(set(listener.events)) < 5000
    assert eventually(lambda: stub.clients() == 0)
