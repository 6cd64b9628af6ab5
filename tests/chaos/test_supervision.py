"""After each silent death of nats-py, events pass again within 10 s. A frozen server is noticed within 15 s."""

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.consumer import Consumer
from crypto_updates.bus.event import MSG_ID
from crypto_updates.bus.stream import DURABLE, STREAM
from crypto_updates.harness.link import Link
from crypto_updates.local.servers import NatsServer
from crypto_updates.service import lifecycle
from tests.chaos import client
from tests.chaos.stalls import Stalls

RECOVERY_SECONDS, NOTICE_SECONDS = 10.0, 15.0


class Services:
    """A publishing and a consuming bus in this process, over one link."""

    def __init__(self, server: NatsServer, link: Link, bus: Bus, consumer: Consumer) -> None:
        self.server, self.link, self.bus, self.consumer = server, link, bus, consumer
        self._numbers = itertools.count(1)

    async def passes(self) -> float:
        """Publish events, one after another, and return the seconds until one of them has been received."""
        begin, first = time.monotonic(), next(self._numbers)
        publishing = asyncio.create_task(self._publish())
        try:
            while True:
                batch = await self.consumer.take()
                for delivery in batch:
                    await delivery.ack()
                if any(int(delivery.headers[MSG_ID]) > first for delivery in batch):
                    return time.monotonic() - begin
        finally:
            await lifecycle.end(publishing)

    async def _publish(self) -> None:
        while True:
            await self.bus.publish(b"{}", {MSG_ID: str(next(self._numbers))})
            await asyncio.sleep(0.2)


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as running:
        yield running


@pytest.fixture
async def stalls(tmp_path: Path) -> AsyncIterator[Stalls]:
    found = Stalls(tmp_path)
    watching = asyncio.create_task(found.watch())
    yield found
    watching.cancel()


@pytest.fixture
async def services(server: NatsServer) -> AsyncIterator[Services]:
    with Link(server.port) as link:
        settings = BusSettings.load({"NATS_URL": f"nats://127.0.0.1:{link.port}"})
        async with Bus(settings, "test") as bus, Consumer(bus, 10) as consumer:
            started = Services(server, link, bus, consumer)
            await asyncio.wait_for(started.passes(), 10)
            yield started
            link.heal()


async def admin(services: Services, work: Callable[[Client], Awaitable[object]]) -> None:
    nc = await client.connect(services.server.url)
    await work(nc)
    await client.close(nc)


async def stale(services: Services) -> None:
    services.link.inject(b"-ERR 'Stale Connection'\r\n")


async def kicked(services: Services) -> None:
    services.link.cut()
    services.link.heal()


async def reading_stopped(services: Services) -> None:
    nc = (await services.bus.connection()).nc
    assert nc._reading_task
    nc._reading_task.cancel()
    await asyncio.sleep(0.1)
    assert nc.is_connected  # which is not true


async def waiting_cancelled(services: Services) -> None:
    """As by a library that cancels a future on which our tasks wait."""
    for waiter in (await services.bus.connection()).lost._waiters:
        waiter.cancel()


async def half_open(services: Services) -> None:
    services.link.half_open()
    services.link.heal()


async def restarted(services: Services) -> None:
    services.server.kill()
    await asyncio.to_thread(services.server.restart)


async def consumer_deleted(services: Services) -> None:
    await admin(services, lambda nc: nc.jetstream().delete_consumer(STREAM, DURABLE))


async def stream_deleted(services: Services) -> None:
    await admin(services, lambda nc: nc.jetstream().delete_stream(STREAM))


async def stream_made_again(services: Services) -> None:
    async def work(nc: Client) -> None:
        config = (await nc.jetstream().stream_info(STREAM)).config
        await nc.jetstream().delete_stream(STREAM)
        await nc.jetstream().add_stream(config)

    await admin(services, work)


@pytest.mark.parametrize(
    "fault",
    [
        stale,
        kicked,
        reading_stopped,
        waiting_cancelled,
        half_open,
        restarted,
        consumer_deleted,
        stream_deleted,
        stream_made_again,
    ],
)
async def test_events_pass_again_within_10_s_of(
    fault: Callable[[Services], Awaitable[None]],
    services: Services,
    stalls: Stalls,
    record_property: Callable[[str, object], None],
) -> None:
    begin = time.monotonic()
    await fault(services)
    await stalls.within(RECOVERY_SECONDS - (time.monotonic() - begin), services.passes())
    record_property("recovery_seconds", round(time.monotonic() - begin, 1))
    print(f"{fault.__name__}: {time.monotonic() - begin:.1f} s")  # noqa: T201 - the figure
    await stalls.within(1, services.passes())


async def test_stalls_stretch_a_bound_and_nothing_else_does(stalls: Stalls) -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError, match=r"^not done within 0\.3 s"):
        await stalls.within(0.3, asyncio.sleep(60))
    assert time.monotonic() - begin - stalls.seconds < 1

    async def stalled() -> None:
        time.sleep(0.8)  # noqa: ASYNC251 - the case tested
        await asyncio.sleep(0.2)

    await stalls.within(0.5, stalled())


async def test_a_stall_is_no_part_of_what_another_thread_measures(stalls: Stalls) -> None:
    assert await asyncio.to_thread(stalls.until, lambda: False, 0.3) is None
    end = time.monotonic() + 0.9
    measuring = asyncio.create_task(asyncio.to_thread(stalls.until, lambda: time.monotonic() > end, 0.5))
    await asyncio.sleep(0)
    time.sleep(0.8)  # noqa: ASYNC251 - the case tested
    assert await measuring


async def test_a_frozen_server_is_noticed_within_15_s_and_recovered_from(services: Services) -> None:
    connection = await services.bus.connection()
    begin = time.monotonic()
    services.server.kill(signal.SIGSTOP)
    try:
        await asyncio.wait_for(connection.lost.wait(), NOTICE_SECONDS)
    finally:
        services.server.kill(signal.SIGCONT)
    print(f"noticed after {time.monotonic() - begin:.1f} s")  # noqa: T201 - the figure
    await asyncio.wait_for(services.passes(), RECOVERY_SECONDS)


async def test_a_server_that_hangs_up_during_the_handshake_is_no_end(services: Services) -> None:
    connection = await services.bus.connection()
    services.link.reset()
    await asyncio.wait_for(connection.lost.wait(), RECOVERY_SECONDS)
    await asyncio.sleep(3)  # some attempts in vain
    services.link.heal()
    await asyncio.wait_for(services.passes(), RECOVERY_SECONDS)
