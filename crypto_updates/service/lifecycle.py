import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from crypto_updates.service import environment, log
from crypto_updates.service.config import ConfigError, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)
T = TypeVar("T")

logger = logging.getLogger(__name__)

# For each step that finishes current work when the service is told to stop. All steps together have 10 seconds.
GRACE_SECONDS = 3.0
# nats-py can swallow a cancellation while it connects, so it is repeated.
CANCEL_AGAIN_SECONDS = 0.5

BAD_CONFIG = 2


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
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 0


async def end(task: asyncio.Task[Any]) -> None:
    """Cancel the task, again and again until it has ended."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)


async def finish(work: Coroutine[Any, Any, None]) -> None:
    """Wait for the work. When cancelled meanwhile, give the work GRACE_SECONDS to finish."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=GRACE_SECONDS)
        await end(task)
        raise


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
