"""`python -m tests`: all tests that this machine can run, group by group, and one summary at the end."""

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

# The tests of Compose share one project. The others share the processors.
GROUPS = {
    "compose": ["tests/compose"],
    "unit, e2e, browser": ["tests/unit", "tests/e2e", "tests/browser", "examples", "-n", "4", "--dist", "worksteal"],
    "chaos": ["tests/chaos", "-n", "4", "--dist", "worksteal"],
}
OUTCOMES = ("passed", "failed", "skipped")


class Result(NamedTuple):
    counts: Counter[str]
    failures: list[str]
    skips: Counter[str]


def read(report: Path, status: int) -> Result:
    """The outcome of each test. A group that pytest could not run to its end has failed, too."""
    counts, failures, skips = Counter[str](), list[str](), Counter[str]()
    for case in ET.parse(report).iter("testcase") if report.exists() else ():  # noqa: S314 - pytest wrote it
        outcome = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        if outcome is None:
            counts["passed"] += 1
        elif outcome.tag == "skipped":
            counts["skipped"] += 1
            skips[outcome.get("message", "")] += 1
        else:
            counts["failed"] += 1
            failures.append(f"{case.get('classname')}::{case.get('name')}")
    if not failures and (status or not counts):
        counts["failed"] += 1
        failures.append(f"pytest ended with status {status}")
    return Result(counts, failures, skips)


def run(arguments: list[str]) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run([sys.executable, "-m", "pytest", *arguments, f"--junitxml={report}"], check=False)
        return read(report, done.returncode)


def told(counts: Counter[str]) -> str:
    return ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome] or outcome != "skipped")


def summary(results: dict[str, Result]) -> str:
    """The last line is the sum of all groups."""
    lines = ["", *(f"{name:20}{told(result.counts)}" for name, result in results.items())]
    for name, result in results.items():
        lines += [f"FAILED  {name}: {failure}" for failure in result.failures]
    skips = sum((result.skips for result in results.values()), Counter[str]())
    lines += [f"SKIPPED {count} tests: {reason}" for reason, count in skips.items()]
    return "\n".join([*lines, told(sum((result.counts for result in results.values()), Counter[str]()))])


def main() -> int:
    argparse.ArgumentParser(prog="python -m tests", description=__doc__).parse_args()
    results = {}
    for name, arguments in GROUPS.items():
        print(f"\n{name}", flush=True)  # noqa: T201 - for a person at a terminal
        results[name] = run(arguments)
    print(summary(results))  # noqa: T201 - as above
    return 1 if any(result.failures for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
