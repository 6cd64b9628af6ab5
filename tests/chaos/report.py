"""What a run did and found: the table for a person, and the same as JSON."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from tests.chaos.checker import Recovery, Violation
from tests.chaos.history import Operation

# Violations shown; all are in the JSON.
SHOWN = 20
# What the name of a recovery begins with whose seconds count from the beginning of the fault, not from its end.
WITHOUT = "without: "


class Report(NamedTuple):
    """`command` repeats it. `kills`: SIGKILLs by kind of process. `seconds`: how long it took."""

    command: str
    seconds: float
    faults: Sequence[str]
    kills: Mapping[str, int]
    busy: Mapping[str, int]
    operations: Sequence[Operation]
    stored: int
    slots: int
    recoveries: Sequence[Recovery]
    violations: Sequence[Violation]

    def figures(self) -> dict[str, Any]:
        """In the order of the table."""
        results = Counter(operation.result for operation in self.operations)
        found = Counter(violation.invariant for violation in self.violations)
        failovers = [recovery for recovery in self.recoveries if recovery.fault.startswith(WITHOUT)]
        recoveries = [recovery for recovery in self.recoveries if recovery not in failovers]
        return {
            "seconds": round(self.seconds),
            "faults": dict(sorted(Counter(self.faults).items())),
            "kill points": dict(self.kills),
            "kill points after work was done": dict(self.busy),
            "attempts": len(self.operations),
            "unknown": results["unknown"],
            "failed": results["failed"],
            "acknowledged events": len({o.id for o in self.operations if o.result == "ok"}),
            "stored": self.stored,
            "slots": self.slots,
            "lost": found["I1"],
            "duplicated": found["I2"],
            "phantoms": found["I3"],
            "missed or extra slots": found["I4"],
            "altered": found["I5"] + found["I7"],
            "other violations": sum(found.values()) - sum(found[name] for name in ("I1", "I2", "I3", "I4", "I5", "I7")),
            **_times("recovery", recoveries),
            **_times("events without the lost", failovers),
        }

    def json(self) -> dict[str, Any]:
        violations = [violation._asdict() for violation in self.violations]
        recoveries = [recovery._asdict() for recovery in self.recoveries]
        return {"command": self.command, **self.figures(), "violations": violations, "each recovery": recoveries}

    def __str__(self) -> str:
        lines = []
        for name, value in self.figures().items():
            if isinstance(value, dict):
                lines += [f"{name}:", *(f"  {key:32}{count:>8}" for key, count in value.items())]
            else:
                lines.append(f"{name:34}{value!s:>8}")
        lines += [f"{v.invariant} {v.subject}: {v.what}" for v in self.violations[:SHOWN]]
        if len(self.violations) > SHOWN:
            lines.append(f"... {len(self.violations) - SHOWN} more")
        return "\n".join([*lines, f"repeat with: {self.command}"])


def _times(name: str, recoveries: Sequence[Recovery]) -> dict[str, float | int | None]:
    times = [recovery.seconds for recovery in recoveries if recovery.seconds is not None]
    p50, most = (round(of(times), 1) if times else None for of in (statistics.median, max))
    return {f"{name}, times": len(recoveries), f"{name} p50 s": p50, f"{name} max s": most}
