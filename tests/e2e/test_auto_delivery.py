"""DELIVERY=auto: core NATS only if the server's INFO has no JetStream, whatever fails."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial

import nats
import pytest
from nats.aio.client import Client

from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import REPLY_SECONDS
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.bus.event import parse
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from crypto_updates.local.servers import NatsServer
from tests.e2e.conftest import Stack
from tests.support import connect, settled, soon

SLOT = "2023-11-21T14:30:00Z"
BARE = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'

ACCOUNTS = """accounts {
  ONE { users: [{ user: one, password: p }] }
  TWO { jetstream: enabled, users: [{ user: two, password: p }] }
}"""
DENIED = '["$JS.API.STREAM.INFO.CRYPTO"]'
NO_INFO = f"authorization {{ users: [{{ user: one, password: p, permissions: {{ publish: {{ deny: {DENIED} }} }} }}] }}"


@pytest.fixture
def plain_server() -> Iterator[NatsServer]:
    """As `docker run -p 4222:4222 nats:latest` starts it: without JetStream."""
    with NatsServer(jetstream=False) as server:
        yield server


@pytest.fixture
def cluster() -> Iterator[list[Callable[[], NatsServer]]]:
    """Starts the servers of a cluster of three, one by one."""
    routes = [ports.free() for _ in range(3)]
    told = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    servers = [
        NatsServer(config=f'cluster {{ name: three, listen: "127.0.0.1:{port}", routes: [{told}] }}') for port in routes
    ]
    with ExitStack() as started:
        yield [partial(started.enter_context, server) for server in servers]


def login(server: NatsServer, **environ: str) -> BusSettings:
    return BusSettings.load({"NATS_URL": server.url, "NATS_USER": "one", "NATS_PASSWORD": "p"} | environ)


async def test_a_server_without_jetstream_gets_the_event_with_a_warning(
    plain_server: NatsServer, service: Service
) -> None:
    client = await connect(plain_server.url)
    subscription = await client.subscribe("crypto.updates")
    await settled(client)
    worker = service("worker", "--once", "--slot", SLOT, NATS_URL=plain_server.url, MARKET_SOURCE="none")
    assert worker.wait() == 0
    assert "is lost" in worker.wait_for_line("has no JetStream: using core NATS")
    assert (await subscription.next_msg(5)).data == BARE
    await client.close()


def test_delivery_jetstream_does_not_step_down(plain_server: NatsServer, service: Service) -> None:
    worker = service("worker", NATS_URL=plain_server.url, DELIVERY="jetstream", MARKET_SOURCE="none")
    line = worker.wait_for_line("[NATS] JETSTREAM_MISSING")
    assert "start nats-server with -js, or set DELIVERY=core; retrying" in line


async def test_with_a_mistyped_api_prefix_the_events_wait_in_the_outbox(stack: Stack, publisher: Client) -> None:
    subscription = await publisher.subscribe("crypto.updates")
    await settled(publisher)
    worker = stack.worker(NATS_API_PREFIX="WRONG.API", MARKET_SOURCE="none")
    line = await asyncio.to_thread(worker.wait_for_line, "[NATS] JETSTREAM_UNAVAILABLE", 15)
    assert "nobody answers at WRONG.API: verify NATS_API_PREFIX" in line
    with pytest.raises(nats.errors.TimeoutError):
        await subscription.next_msg(3)
    assert await asyncio.to_thread(worker.stop) == 0
    now = datetime.now(UTC)
    stack.worker(MARKET_SOURCE="none", MISSED_SLOTS="none")
    message = await subscription.next_msg(15)
    assert parse(message.data)["timestamp"] < now


async def test_an_account_without_jetstream_is_told_as_that_and_not_served(caplog: pytest.LogCaptureFixture) -> None:
    with NatsServer(config=ACCOUNTS) as server:
        async with Bus(login(server), "test") as bus:
            assert await soon(lambda: "the NATS account has no JetStream: enable it" in caplog.text)
            with pytest.raises(UnreachableError, match=r"^JETSTREAM_MISSING .* the NATS account has no JetStream"):
                await bus.connection(0)
        assert "or set DELIVERY=core; retrying" in caplog.text
        async with Bus(login(server, DELIVERY="core"), "test") as bus:
            assert (await bus.connection(10)).js is None


async def test_a_user_who_may_not_ask_for_the_stream_uses_the_one_that_is_provisioned() -> None:
    with NatsServer(config=NO_INFO) as server:
        async with Bus(login(server), "test") as bus:
            # The server's refusal ends the wait for a reply, which takes REPLY_SECONDS.
            connection = await bus.connection(REPLY_SECONDS - 1)
            assert connection.js is not None
            await connection.js.add_stream(name="CRYPTO", subjects=["crypto.updates"])
            assert (await bus.publish(BARE, {})).seq == 1


@pytest.mark.timeout(120)
async def test_a_cluster_without_a_leader_is_waited_for_and_then_used(
    cluster: list[Callable[[], NatsServer]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = await asyncio.to_thread(cluster[0])
    async with Bus(BusSettings.load({"NATS_URL": first.url}), "test") as bus:
        assert await soon(lambda: "[NATS] JETSTREAM_UNAVAILABLE" in caplog.text, 20)
        with pytest.raises(UnreachableError):
            await bus.connection(0)
        for start in cluster[1:]:
            await asyncio.to_thread(start)
        assert (await bus.connection(45)).js is not None
        assert (await bus.publish(BARE, {})).seq == 1
    assert "core NATS" not in caplog.text


async def test_a_server_that_is_restarted_without_jetstream_is_not_stepped_down_for(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with NatsServer() as server:
        async with Bus(BusSettings.load({"NATS_URL": server.url}), "test") as bus:
            assert (await bus.connection(10)).js is not None
            await asyncio.to_thread(server.stop)
            with NatsServer(port=server.port, jetstream=False):
                assert await soon(lambda: "[NATS] JETSTREAM_MISSING" in caplog.text)
                with pytest.raises(
                    UnreachableError, match=r"^JETSTREAM_MISSING .* no JetStream: start nats-server with"
                ):
                    await bus.connection(0)
                with pytest.raises(UnreachableError, match=r"^JETSTREAM_MISSING "):
                    await bus.ping()
