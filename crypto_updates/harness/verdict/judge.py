"""Goes through the list with a server: some items first and alone, the others side by side where that is quicker."""

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from crypto_updates.harness.verdict import usual
from crypto_updates.harness.verdict.candidate import Candidate
from crypto_updates.harness.verdict.catalogue import COPY, FIRST
from crypto_updates.harness.verdict.halt import Halt, HaltedError
from crypto_updates.harness.verdict.item import CandidateError, Flaw, Item, Outcome, Result
from crypto_updates.harness.verdict.known import Known
from crypto_updates.harness.verdict.lane import SERVER_LOG, Lane

_MAX_LANES = 4
# With less to do than this, another stack is not worth its start.
_LANE_SECONDS = 25.0
_LOOK_SECONDS = 0.1


class Judge:
    """`logs`: the folder for the logs of items that fail. `report` gets each result at once, from any thread."""

    def __init__(self, candidate: Candidate, logs: Path, report: Callable[[Result], None]) -> None:
        self._candidate = candidate
        self._logs = logs
        self._report = report
        self._known = Known()
        self._halt = Halt()
        self._results: dict[str, Result] = {}
        self._errors: list[Exception] = []
        self._calm, self._others = deque[Item](), deque[Item]()
        self._threads: list[threading.Thread] = []
        self._runs_twice: bool | None = None

    def judge(self, items: Sequence[Item]) -> list[Result]:
        """The results, in the order of the items. Raises CandidateError if the server cannot be started, StackError."""
        # A lane that fails halts the others, so the error is that one's.
        with suppress(HaltedError), self._lane() as lane:
            try:
                if self._begin(lane, items):
                    self._go_on(lane, [item for item in items if item.name not in self._results])
            finally:
                self._halt.stop()
                for thread in self._threads:
                    thread.join()
        if self._errors:
            raise self._errors[0]
        named = dict.fromkeys([*(item.name for item in FIRST), *(item.name for item in items)])
        return [self._results[name] for name in named if name in self._results]

    def _begin(self, lane: Lane, items: Sequence[Item]) -> bool:
        """The items that the other ones build on, also if they were not asked for. False if one of them fails."""
        for item in FIRST:
            result = self._first(lane, item)
            if result.flaw not in (None, Flaw.LATE):
                self._keep(result)
                self._skip(items, f"needs what failed: {item.name}")
                return False
            if item in items or result.flaw:
                self._keep(result)
        self._known.usual_ports = usual.are_used(lane.trial.crypto)
        return True

    def _first(self, lane: Lane, item: Item) -> Result:
        """Some servers have the addresses of NATS and MongoDB in their code, so a failure may be of that."""
        result = lane.run(item)
        if result.flaw not in (None, Flaw.LATE) and lane.at_usual_ports():
            result = lane.run(item)
        if item == FIRST[0] and result.flaw == Flaw.ENDS and result.logs:
            told = (result.logs / SERVER_LOG).read_text(encoding="utf-8")
            raise CandidateError(f"{result.seen}\nThe server's output:\n{told}")
        return result

    def _go_on(self, lane: Lane, items: Sequence[Item]) -> None:
        calm = [item for item in items if item.calm and item not in FIRST]
        self._calm.extend(sorted(calm, key=lambda item: item is COPY))
        self._others.extend(sorted((item for item in items if not item.calm), key=lambda item: -item.seconds))
        lanes = min(math.ceil(sum(item.seconds for item in items) / _LANE_SECONDS), _MAX_LANES)
        if lanes > 1 and not self._known.usual_ports:
            # A server with a fixed port cannot run twice: until that is known, the one of this lane keeps it.
            lane.wake()
            self._hire(1)
            while self._runs_twice is None and self._threads[0].is_alive():
                self._halt.rest(_LOOK_SECONDS)
            self._hire(lanes - 2 if self._runs_twice else 0)
        self._work(lane, self._calm, self._others)
        for thread in self._threads:
            thread.join()

    def _hire(self, lanes: int) -> None:
        for _ in range(lanes):
            self._threads.append(threading.Thread(target=self._help, daemon=True))
            self._threads[-1].start()

    def _help(self) -> None:
        try:
            with self._lane() as lane:
                works = lane.works()
                self._runs_twice = works if self._runs_twice is None else self._runs_twice
                if works:
                    self._work(lane, self._others, self._calm)
        except HaltedError:
            return
        except Exception as error:  # noqa: BLE001 - the main thread raises it
            self._errors.append(error)
            self._halt.stop()

    def _work(self, lane: Lane, *queues: deque[Item]) -> None:
        for queue in queues:
            with suppress(IndexError):
                while True:
                    self._keep(lane.run(queue.popleft()))

    def _lane(self) -> Lane:
        return Lane(self._candidate, self._known, self._logs, self._halt)

    def _skip(self, items: Sequence[Item], why: str) -> None:
        for item in items:
            if item.name not in self._results:
                self._keep(Result(item.name, Outcome.SKIPPED, 0.0, why))

    def _keep(self, result: Result) -> None:
        self._results[result.name] = result
        self._report(result)
