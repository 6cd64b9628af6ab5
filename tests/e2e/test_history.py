"""Which slots the stream has."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from crypto_updates.bus import event, history
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.event import Event
from crypto_updates.bus.stream import stream_config, update_stream
from tests.e2e.conftest import Stack
from tests.support import lost_stops

QUARTER = timedelta(minutes=15)
NOON = datetime(2023, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
async def connection(stack: Stack, publisher: Client) -> AsyncIterator[Connection]:
    await update_stream(publisher.jetstream(), stream_config(1))
    connection = Connection(stack.nats.url)
    await connection.open(BusSettings.load({}), "test")
    await connection.prepare(1)
    yield connection
    await connection.close()


async def publish(connection: Connection, slot: datetime) -> None:
    identity = event.identity("crypto", slot)
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


async def test_a_stop_that_comes_together_with_an_answer_of_the_stream_is_not_lost(connection: Connection) -> None:
    await publish(connection, NOON)
    assert await lost_stops(lambda: history.holds(connection, "crypto", NOON)) == 0
    assert await lost_stops(lambda: history.newest(connection, "crypto", lambda _: True)) == 0
    assert await lost_stops(lambda: history.message(connection, 1)) == 0


async def test_many_that_were_published_behind_it_do_not_hide_a_slot(connection: Connection) -> None:
    slot = datetime.now(UTC).replace(microsecond=0)
    await publish(connection, slot)
    for number in range(50):
        await publish(connection, NOON + number * QUARTER)
    assert await history.holds(connection, "crypto", slot)
