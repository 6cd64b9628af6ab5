"""A connection that never came to be."""

from __future__ import annotations

from bus.connection import Connection


async def test_a_connection_that_was_never_opened_can_be_closed() -> None:
    connection = Connection("nats://127.0.0.1:1")
    await connection.close()
    assert connection.lost.is_set()
