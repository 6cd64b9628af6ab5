"""What the stream tells of the slots it has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from bus import event, history
from bus.client import Bus
from bus.config import Settings
from bus.connection import Connection
from bus.event import Event, Quote
from bus.stream import stream_config, update_stream
from stack.servers import NatsServer
from tests.e2e.conftest import Stack
from worker import tick
from worker.config import Settings as WorkerSettings

QUARTER = timedelta(minutes=15)
NOON = datetime(2023, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def connection(stack: Stack, publisher: Client) -> AsyncIterator[Connection]:
    await update_stream(publisher.jetstream(), stream_config(1))
    connection = Connection(stack.nats.url)
    await connection.open(Settings.load({}), "test")
    await connection.prepare(1)
    yield connection
    await connection.close()


async def publish(connection: Connection, slot: datetime, part: int = 0) -> None:
    identity = event.identity("crypto", slot, part)
    await connection.publish(event.encode(Event(timestamp=slot)), {"Nats-Msg-Id": identity})


async def test_an_old_slot_that_was_published_last_does_not_hide_the_newest(connection: Connection) -> None:
    slots = [NOON + number * QUARTER for number in range(3)]
    for slot in (*slots, NOON - 3 * QUARTER):
        await publish(connection, slot)
    found = await history.newest(connection, "crypto", lambda _: True)
    assert max(published.slot for published in found) == slots[-1]
    assert [await history.holds(connection, "crypto", slot) for slot in slots] == [True] * 3
    assert not await history.holds(connection, "crypto", NOON - QUARTER)
    assert not await history.holds(connection, "another", slots[-1])


async def test_many_that_were_published_behind_it_do_not_hide_a_slot(connection: Connection) -> None:
    slot = datetime.now(UTC).replace(microsecond=0)
    await publish(connection, slot)
    for number in range(50):
        await publish(connection, NOON + number * QUARTER)
    assert await history.holds(connection, "crypto", slot)


async def test_an_event_is_there_when_its_first_part_is(connection: Connection) -> None:
    for part in (3, 2):
        await publish(connection, NOON, part)
        assert not await history.holds(connection, "crypto", NOON)
        assert await history.newest(connection, "crypto", lambda _: True) == []
    await publish(connection, NOON, 1)
    assert await history.holds(connection, "crypto", NOON)


async def test_the_worker_publishes_the_first_part_last() -> None:
    with NatsServer(config="max_payload: 4096") as server:
        quotes = tuple(
            Quote(coin=f"c{n}", symbol="c", price=1, market_cap=1, change_24h=1, currency="usd", updated_at=NOON)
            for n in range(100)
        )
        connection = Connection(server.url)
        await connection.open(Settings.load({}), "test")
        await connection.prepare(1)
        assert connection.js
        parts = tick.messages(Event(timestamp=NOON, data=quotes), "crypto", connection.nc.max_payload)
        assert len(parts) > 2
        settings = WorkerSettings.load({"NATS_URL": server.url})
        async with Bus(settings, "test") as bus:
            await tick.publish(Event(timestamp=NOON, data=quotes), "crypto", bus, settings.cron)
        ids = [(await connection.js.get_msg("CRYPTO", number)).headers for number in range(1, len(parts) + 1)]
        assert [headers and headers["Nats-Msg-Id"] for headers in ids] == [identity for identity, _ in reversed(parts)]
        await connection.close()
