"""What the rig's publishers did: one operation for each attempt, with what came of it."""

import base64
import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple, Self

# `failed`: the event is certainly not in the stream. `unknown`: it may be, or may yet be.
Result = Literal["ok", "failed", "unknown"]


class Operation(NamedTuple):
    """An attempt to publish. `id` is its Nats-Msg-Id, which the attempts at the same event share.

    `begin` and `end` are seconds since the epoch; `seq` and `duplicate` are the server's answer to an `ok` one.
    `valid`: the body is an event, whose place is in `events`; else it belongs in `dead_letters`.
    """

    id: str
    body: bytes
    begin: float
    end: float
    result: Result
    seq: int | None = None
    duplicate: bool = False
    valid: bool = True


class History:
    """May be recorded to from any thread."""

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._operations = list(operations)
        self._lock = threading.Lock()

    def record(self, operation: Operation) -> None:
        with self._lock:
            self._operations.append(operation)

    @property
    def operations(self) -> list[Operation]:
        with self._lock:
            return list(self._operations)

    @property
    def acked(self) -> int:
        """Events that the server has acknowledged."""
        return len({operation.id for operation in self.operations if operation.result == "ok"})

    def dump(self, path: Path) -> None:
        """Write it as JSON lines, with bodies in base64."""
        with path.open("w", encoding="utf-8") as file:
            for operation in self.operations:
                body = base64.b64encode(operation.body).decode()
                file.write(json.dumps(operation._asdict() | {"body": body}) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `dump` has written."""
        with path.open(encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        return cls(Operation(**line | {"body": base64.b64decode(line["body"])}) for line in lines)
