"""How a service starts and stops: its exit status, what signals do, and how long a stop may take."""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from crypto_updates.service import environment, log
from crypto_updates.service.config import ConfigError, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T")

logger = logging.getLogger(__name__)

# For all steps of a stop together. The promise is 10 seconds, and Python and a busy machine need some of them.
STOP_SECONDS = 7.0
# For each step that finishes current work. What is left is for closing connections.
GRACE_SECONDS = 3.0
# If a step does not keep to its time, the process ends at once. For example, Python waits for a thread that asks DNS.
EXIT_SECONDS = 8.0
# nats-py can swallow a cancellation while it connects, so it is repeated.
CANCEL_AGAIN_SECONDS = 0.5
KEEP_AGAIN_SECONDS = 1.0

BAD_CONFIG = 2

_stop_by: float | None = None  # on the monotonic clock, from the signal on


def main(settings_class: type[S], run: Callable[[S], Coroutine[Any, Any, int | None]], *, lasting: bool = True) -> int:
    """Run to the end and return the exit status: 2 for a bad configuration, with a line for each value.

    A signal ends a `lasting` service with 0. It kills a one-shot command like any other program, because that command
    has not done its work.
    """
    try:
        found = environment.read()
        settings = settings_class.of(found)
        log.setup(settings.log_level, settings.log_format)
        _warn(found.warnings, lasting=lasting)
        if lasting:
            return asyncio.run(_until_stopped(run(settings))) or 0
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return asyncio.run(run(settings)) or 0
    except ConfigError as error:
        print(error, file=sys.stderr)  # the log may not be set up yet
        return BAD_CONFIG


def _warn(lines: Iterable[str], *, lasting: bool) -> None:
    """A one-shot command's standard output is for its result, as of `audit --json`."""
    for line in lines:
        if lasting:
            logger.warning("[CONFIG] %s", line)
        else:
            print(f"[CONFIG] {line}", file=sys.stderr)


async def _until_stopped(work: Awaitable[int | None]) -> int | None:
    """SIGTERM or SIGINT cancels the task; the exit status is then 0."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, _stop, task)
    try:
        return await task
    except asyncio.CancelledError:
        return 0


def _stop(task: asyncio.Future[Any]) -> None:
    """Only the first signal counts: a second one would take the time to finish from the work."""
    global _stop_by  # noqa: PLW0603 - a process stops once
    if _stop_by is None:
        _stop_by = time.monotonic() + STOP_SECONDS
        task.cancel()
        last_resort = threading.Timer(EXIT_SECONDS, os._exit, [0])
        last_resort.daemon = True
        last_resort.start()


def left(most: float) -> float:
    """The seconds that a step may take: `most`, or less when a stop has less time left."""
    return most if _stop_by is None else max(min(most, _stop_by - time.monotonic()), 0.0)


async def keep(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run the work again and again until this task is cancelled. What the work raises is passed on.

    A library that cancels a future of its own, for example when a connection closes, also ends the task that waits for
    it, without an error. Then nobody would notice that the task is gone.
    """
    while True:
        try:
            await work()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
        logger.error("[TASK] %s ended without a reason; starting it again", work.__qualname__)
        await asyncio.sleep(KEEP_AGAIN_SECONDS)


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel the task, again and again until it has ended or the stop has no time left."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=left(CANCEL_AGAIN_SECONDS))
        if not left(CANCEL_AGAIN_SECONDS):
            return


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Wait for the work. When cancelled meanwhile, give the work GRACE_SECONDS to finish, if the stop has them left."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=left(GRACE_SECONDS))
        await end(task)
        raise


@contextmanager
def remembering_stop() -> Iterator[None]:
    """If the task is cancelled in this block, the block ends with CancelledError, whatever else it returns or raises.

    In Python 3.11 `asyncio.wait_for` forgets a cancellation that comes together with what it waits for
    (https://github.com/python/cpython/issues/86296). pymongo and nats-py wait by it. A cancellation from before the
    block does not count, so that a task that is cancelled can tidy up.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    try:
        yield
    finally:
        # Another task closes a generator that was left halfway.
        if task and task is asyncio.current_task() and task.cancelling() > before:
            raise asyncio.CancelledError


async def unless(ending: Coroutine[Any, Any, object], error: type[Exception], work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns. Raises the error if `ending` returns first."""
    task, ended = asyncio.ensure_future(work), asyncio.ensure_future(ending)
    try:
        await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise error
        return task.result()
    finally:
        task.cancel()
        ended.cancel()
