"""A worker that is killed at one point, `KILL_AT`, between its claim of a slot and the acknowledgement of its event."""

import asyncio
import os
import runpy
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, ParamSpec, TypeVar

from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import Connection, Receipt
from crypto_updates.bus.wire import Wire
from worker import pipeline, scheduler, tick, turn
from worker.config import WorkerSettings
from worker.outbox import Outbox

P = ParamSpec("P")
T = TypeVar("T")

# In the order of their time. From `writing` on, the outbox is written before the event is sent.
POINTS = ("claimed", "due", "made", "sent", "writing", "written", "acknowledged")
KILL_AT = POINTS.index(os.environ.get("KILL_AT", POINTS[-1]))

is_armed = False


def reached(point: str) -> None:
    """Be killed if this is the point, and the slot was claimed ahead."""
    if is_armed and POINTS.index(point) == KILL_AT:
        os.kill(os.getpid(), signal.SIGKILL)


def after(point: str, function: Callable[P, T]) -> Callable[P, T]:
    def wrapped(*args: P.args, **options: P.kwargs) -> T:
        result = function(*args, **options)
        reached(point)
        return result

    return wrapped


def before(point: str, function: Callable[P, T]) -> Callable[P, T]:
    def wrapped(*args: P.args, **options: P.kwargs) -> T:
        reached(point)
        return function(*args, **options)

    return wrapped


def flushing(flush: Callable[[Outbox], None]) -> Callable[[Outbox], None]:
    def wrapped(outbox: Outbox) -> None:
        is_held = bool(outbox._held)
        flush(outbox)
        if is_held:
            reached("written")

    return wrapped


def claiming(
    claim: Callable[[Bus, WorkerSettings, datetime], Coroutine[Any, Any, bool]],
) -> Callable[[Bus, WorkerSettings, datetime], Coroutine[Any, Any, bool]]:
    async def wrapped(bus: Bus, settings: WorkerSettings, slot: datetime) -> bool:
        global is_armed  # noqa: PLW0603 - a worker is killed once
        is_first = await claim(bus, settings, slot)
        is_armed = is_first and slot > datetime.now(UTC)
        reached("claimed")
        return is_first

    return wrapped


async def sent(wire: Wire) -> None:
    """Reach the point when the bytes are in the socket."""
    while wire.pending_data_size:  # noqa: ASYNC110 - nats-py has no event for it
        await asyncio.sleep(0)
    reached("sent")


def storing(
    store: Callable[[Connection, bytes, dict[str, str], str], Coroutine[Any, Any, Receipt]],
) -> Callable[[Connection, bytes, dict[str, str], str], Coroutine[Any, Any, Receipt]]:
    async def wrapped(connection: Connection, body: bytes, headers: dict[str, str], subject: str) -> Receipt:
        task = asyncio.ensure_future(store(connection, body, headers, subject))
        while not (connection.nc.pending_data_size or task.done()):  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)
        await sent(connection.nc)
        receipt = await task
        reached("acknowledged")
        return receipt

    return wrapped


if __name__ == "__main__":
    # Its claims come before those of other workers.
    scheduler.AHEAD = timedelta(seconds=0.9)
    if POINTS[KILL_AT] in POINTS[POINTS.index("writing") :]:
        pipeline.HEAD_START_SECONDS = 0.0
    turn.claim = claiming(turn.claim)
    tick.make = before("due", tick.make)
    Outbox.hold = after("made", Outbox.hold)  # type: ignore[method-assign]
    Outbox.flush = flushing(Outbox.flush)  # type: ignore[assignment, method-assign]
    Connection.publish = storing(Connection.publish)  # type: ignore[method-assign]
    sys.addaudithook(lambda name, _: reached("writing") if name == "os.link" else None)
    runpy.run_module("worker", run_name="__main__")
