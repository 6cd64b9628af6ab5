"""The event loop of the harness, on a thread of its own."""

import asyncio
import contextlib

from crypto_updates.harness.loop import Loop


def test_what_forgets_its_cancellation_is_ended_all_the_same() -> None:
    async def forgetful() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async def begun() -> "asyncio.Task[None]":
        task = asyncio.ensure_future(forgetful())
        await asyncio.sleep(0)
        return task

    with Loop("test") as loop:
        task = loop.run(begun())
    assert task.cancelled()
