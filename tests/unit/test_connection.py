"""A connection that never came to be, and a call on one that is given up."""

from __future__ import annotations

import asyncio

import pytest

from bus.connection import Connection


async def test_a_connection_that_was_never_opened_can_be_closed() -> None:
    connection = Connection("nats://127.0.0.1:1")
    await connection.close()
    assert connection.lost.is_set()


@pytest.mark.parametrize("steps", range(3))
async def test_a_cancellation_in_the_instant_of_the_answer_ends_the_call(steps: int) -> None:
    answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    call = asyncio.create_task(Connection("nats://127.0.0.1:4222").unless_lost(asyncio.wait_for(answer, 5)))
    for _ in range(5):
        await asyncio.sleep(0)  # until the request has begun to wait
    answer.set_result(b"")
    for _ in range(steps):
        await asyncio.sleep(0)  # of the loop, in which the answer comes up from call to call
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
