import threading
import time
from collections.abc import Sequence
from typing import Generic, TypeVar, overload

T = TypeVar("T")


class Seen(Sequence[T], Generic[T]):
    """What has been seen so far, oldest first. It grows while you look at it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._items: list[T] = []
        self._news = threading.Condition()

    def add(self, item: T) -> None:
        with self._news:
            self._items.append(item)
            self._news.notify_all()

    def clear(self) -> None:
        with self._news:
            self._items.clear()

    def wait(self, count: int = 1, within: float = 10.0) -> list[T]:
        """All that was seen, once there are `count`. Raises AssertionError, with the latest, when late."""
        begin = time.monotonic()
        with self._news:
            if self._news.wait_for(lambda: len(self._items) >= count, within):
                return list(self._items)
            found = list(self._items)
        latest = [f"  {str(item)[:500]}" for item in found[-10:]]
        what = f"{len(found)} of {count} {self._what} after {time.monotonic() - begin:.1f} s"
        raise AssertionError("\n".join([what, *latest]))

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        with self._news:
            return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(self[:])
