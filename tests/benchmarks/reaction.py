"""How soon the API stub reacts, by what `crypto-updates check-server --quick` sees of it."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator

from stack import console
from tests.benchmarks.quantile import p50
from tests.benchmarks.table import Figures, table
from tests.support import ROOT

# What the verdict says of the items that wait for a reaction.
SEEN = re.compile(r"(?:^p50|^reacted after|, reacted|good event after) ([\d.]+) (m?s)")
SECONDS = {"s": 1.0, "ms": 0.001}
# For a hang; a verdict takes 20 seconds.
PATIENCE_SECONDS = 600.0


def verdict() -> Iterator[tuple[str, float]]:
    """The items, and the seconds until the reaction. The invalid bodies have one name together."""
    server = (sys.executable, "-P", "-m", "api_stub")
    command = [sys.executable, "-P", "-m", "stack", "check-server", "--quick", "--json", "--", *server]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    # An item that does not hold makes the status 1, and has no figure.
    told = subprocess.run(command, check=False, capture_output=True, text=True, env=environ, timeout=PATIENCE_SECONDS)
    for item in json.loads(told.stdout)["items"]:
        if found := SEEN.search(item["seen"]):
            yield item["name"].partition(":")[0], float(found[1]) * SECONDS[found[2]]


def measure(verdicts: int) -> Figures:
    """Seconds, by item, of so many verdicts."""
    found = defaultdict[str, list[float]](list)
    for number in range(verdicts):
        with console.step(f"Verdict {number + 1} on the API stub"):
            for name, seconds in verdict():
                found[name].append(seconds)
    return {name: {"p50": p50(series), "most": max(series)} for name, series in found.items()}


def section(figures: Figures) -> list[str]:
    """What docs/benchmarks.md says of it."""
    rows = [(name, f"{1000 * of['p50']:.0f} ms", f"{1000 * of['most']:.0f} ms") for name, of in figures.items()]
    return [
        (
            "`crypto-updates check-server --quick` on the API stub, three times, each on new servers: the time until it"
            " reacts, by a write to MongoDB: to an event, to the next good event after an invalid body, and to a"
            " new event once the fault is over, which it tells in tenths of a second. Of `reacts to an event` each is"
            " the median of 20."
        ),
        table(("item", "median", "at most"), rows),
    ]
