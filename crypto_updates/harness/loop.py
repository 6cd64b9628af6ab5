import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from crypto_updates.service import lifecycle

T = TypeVar("T")

# For a loop that hangs.
_PATIENCE_SECONDS = 10.0


class Loop:
    """An event loop on a thread of its own, as it is used in a `with` statement, for callers that are not async."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Cancels what still runs there."""
        self.run(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_SECONDS)
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T], within: float = _PATIENCE_SECONDS) -> T:
        """Do the work on the loop, and return what it returns. Raises TimeoutError, and cancels the work, when late."""
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result(within)
        except TimeoutError:
            done.cancel()
            raise

    def call(self, function: Callable[[], T]) -> T:
        """Call the function on the loop."""

        async def called() -> T:
            return function()

        return self.run(called())

    @staticmethod
    async def _cancel_all() -> None:
        await asyncio.gather(*map(lifecycle.end, asyncio.all_tasks() - {asyncio.current_task()}))
