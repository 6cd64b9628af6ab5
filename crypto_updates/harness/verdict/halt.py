"""Waiting that ends at once when the whole verdict is stopped."""

import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.01


class HaltedError(Exception):
    """The verdict was stopped."""


class Halt:
    """Shared by all threads of a verdict."""

    def __init__(self) -> None:
        self._halted = threading.Event()

    def stop(self) -> None:
        self._halted.set()

    def rest(self, seconds: float) -> None:
        """Raises HaltedError."""
        if self._halted.wait(seconds):
            raise HaltedError

    def until(self, holds: Callable[[], object], within: float, every: float = LOOK_SECONDS) -> bool:
        """Wait until it holds, and return True; False after `within` seconds. Raises HaltedError."""
        deadline = time.monotonic() + within
        while not holds():
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.rest(min(every, left))
        return True
