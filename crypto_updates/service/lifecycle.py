"""How a service's process lives: settings, log, signals, and the exit status."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from crypto_updates.service import log
from crypto_updates.service.config import ConfigError, ServiceSettings

S = TypeVar("S", bound=ServiceSettings)

# Seconds for each of the steps that finish what is in hand when the service is told to stop; all of it has 10.
GRACE = 3.0

BAD_CONFIG = 2


def main(settings_class: type[S], run: Callable[[S], Coroutine[Any, Any, int | None]], *, lasting: bool = True) -> int:
    """Run to the end and return the exit status: 2 for a bad configuration, with a line for each value.

    A signal is a good end for a `lasting` service. It kills a one-shot as it kills any program, because what that was
    asked for has not been done.
    """
    try:
        settings = settings_class.load()
        log.setup(settings.log_level, settings.log_format)
        if lasting:
            return asyncio.run(_until_stopped(run(settings))) or 0
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        return asyncio.run(run(settings)) or 0
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the log may not be set up yet
        return BAD_CONFIG


async def _until_stopped(work: Awaitable[int | None]) -> int | None:
    """Signals count from the first moment on: the task that works is cancelled, and that is a good end."""
    task = asyncio.ensure_future(work)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        return await task
    except asyncio.CancelledError:
        return 0


async def ended(task: asyncio.Task[Any]) -> None:
    """Cancel the task until it has ended: a nats-py client that is just connecting can swallow a cancellation."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)


async def finished(work: Coroutine[Any, Any, None]) -> None:
    """Wait for the work, and when cancelled, still give it GRACE seconds to end."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=GRACE)
        await ended(task)
        raise
