"""Which fault comes next: the ones asked for by hand, and those of the plan."""

import queue
import time
from collections.abc import Iterator
from concurrent.futures import Future

from stack.faults.plan import Fault
from stack.faults.stage import Stage

# At least so long everything works between two faults.
_PAUSE_SECONDS = 2.0


class Agenda:
    """The plan has its turn every so many seconds. A fault by hand waits only until the one before it is over."""

    def __init__(self, stage: Stage, plan: Iterator[Fault], every: float) -> None:
        self._stage = stage
        self._plan = plan
        self._every = every
        self._due: float | None = None
        self._asked: queue.SimpleQueue[tuple[Fault, Future[None]]] = queue.SimpleQueue()

    def ask(self, fault: Fault) -> Future[None]:
        """Called from any thread. The future is done when the fault is over."""
        over = Future[None]()
        self._asked.put((fault, over))
        return over

    def step(self) -> None:
        """Do the fault that is due, if there is one. The plan begins with the first call."""
        now = time.monotonic()
        self._due = self._due or now + self._every
        if not self._asked.empty():
            fault, over = self._asked.get()
            if over.set_running_or_notify_cancel():
                self._do(fault)
                over.set_result(None)
        elif now >= self._due and (planned := next(self._plan, None)):
            self._due = now + self._every
            self._do(planned)

    def _do(self, fault: Fault) -> None:
        self._stage.do(fault)
        if self._due:
            self._due = max(self._due, time.monotonic() + _PAUSE_SECONDS)
