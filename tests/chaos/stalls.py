import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from crypto_updates.service import lifecycle
from tests.support import eventually

# A look at the machine, and how long it may take before it counts as a stall.
LOOK_EVERY_SECONDS, LOOK_SECONDS = 0.1, 0.05
T = TypeVar("T")


class Stalls:
    """Seconds for which this machine kept everybody waiting, for the processor or for the disk.

    The bounds are those of the project: 5 s for an answer, 1 s before another try, 2 s for probes. On a busy machine
    the clock also counts what other programs take, and a nats-server that syncs each event waits for the disk.
    """

    def __init__(self, folder: Path) -> None:
        # Seconds of stalls that have ended, and when the look that lasts began. Another thread must not see half of it.
        self._counted = 0.0, time.monotonic()
        self._path = folder / "stalls"

    @property
    def seconds(self) -> float:
        """Those that have ended, and the one that lasts."""
        ended, begin = self._counted
        return ended + max(time.monotonic() - begin - LOOK_EVERY_SECONDS - LOOK_SECONDS, 0.0)

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            await asyncio.to_thread(self._sync)
            self._counted = self.seconds, time.monotonic()

    def _sync(self) -> None:
        with contextlib.suppress(OSError), self._path.open("wb") as file:  # unwatched, all would be a stall
            file.write(b"x")
            os.fsync(file.fileno())

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns. Raises TimeoutError after `seconds`, without stalls meanwhile."""
        task, begin, before = asyncio.ensure_future(work), time.monotonic(), self.seconds
        try:
            while not task.done():
                left = begin + seconds + self.seconds - before - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"not done within {seconds:.1f} s and {self.seconds - before:.1f} s of stalls")
                await asyncio.wait([task], timeout=min(left, LOOK_EVERY_SECONDS))
            return task.result()
        finally:
            await lifecycle.end(task)

    def until(self, holds: Callable[[], object], within: float) -> float | None:
        """Seconds until it holds, without stalls meanwhile; None if `within` is not enough. Blocks, so `watch` must run
        in another thread.
        """
        begin = time.monotonic() - self.seconds
        while (left := within - (time.monotonic() - self.seconds - begin)) > 0:
            if eventually(holds, left):
                return time.monotonic() - self.seconds - begin
        return None
