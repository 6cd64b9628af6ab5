import re
import threading
from collections import deque
from collections.abc import Iterator

_KEPT_LINES = 10_000


class Lines(deque[str]):
    """The latest lines of a process's output. `written`: how many there ever were, which is a mark for `find`."""

    def __init__(self) -> None:
        super().__init__(maxlen=_KEPT_LINES)
        self.written = 0
        self.news = threading.Condition()

    def __iter__(self) -> Iterator[str]:
        """Over the lines of now: over a deque that grows meanwhile, it would raise RuntimeError."""
        with self.news:
            return iter([*super().__iter__()])

    def add(self, line: str) -> None:
        with self.news:
            self.append(line)
            self.written += 1
            self.news.notify_all()

    def find(self, pattern: re.Pattern[str], after: int = 0) -> str | None:
        """The first line behind the mark that the pattern matches, if there is one."""
        return next(filter(pattern.search, self.since(after)), None)

    def since(self, after: int) -> list[str]:
        """The lines behind the mark, as far as they are kept."""
        with self.news:
            new = self.written - after
            return list(self)[-new:] if new > 0 else []
