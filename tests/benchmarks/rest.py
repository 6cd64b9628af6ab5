"""What the whole Compose stack takes when nothing happens, health checks and Docker's own share included.

    python -m tests.benchmarks.rest [--seconds 300] [CLONE ...]

Starts the stack of each clone in turn, this one by default, and prints a table. As root on Linux, with a Docker engine.
"""

import argparse
import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from crypto_updates.local import ports
from stack import console, services
from tests.benchmarks.cgroup import Cgroup
from tests.benchmarks.footprint import MEGABYTE
from tests.benchmarks.table import table
from tests.support import ROOT

PROJECT = "crypto-updates-rest"
SERVICES = ("worker", "api_stub", "nats", "mongo")
# A check, and each of its commands, is a child of these.
ENGINE = {"dockerd", "containerd", "containerd-shim", "containerd-shim-runc-v2", "docker-proxy"}
# Until what the start has left behind is done.
SETTLE_SECONDS = 15.0


class Cost(NamedTuple):
    """`cpu`: the share of a core. `memory`: megabytes that cannot be taken back; None for the engine."""

    cpu: float
    memory: float | None


class Stack:
    """The stack of a clone, on free ports and with simulated prices, under a name of its own."""

    def __init__(self, clone: Path) -> None:
        self._clone = clone
        free = {name: str(ports.free()) for name in ("NATS_PORT", "MONGO_PORT", "HTTP_PORT")}
        self._environ = {**os.environ, **free, "MARKET_SOURCE": "simulated"}

    @contextmanager
    def running(self) -> Iterator[Mapping[str, Cgroup]]:
        """Yield the cgroup of each service."""
        try:
            self._compose("up", "--build", "--wait")
            yield {service: Cgroup.of(self._pid(service)) for service in SERVICES}
        finally:
            self._compose("down", "--volumes", "--rmi", "local", "--timeout", "5")

    def _pid(self, service: str) -> int:
        container = self._compose("ps", "--quiet", service).strip()
        return int(json.loads(_docker("inspect", container))[0]["State"]["Pid"])

    def _compose(self, *args: str) -> str:
        return _docker("compose", "--project-name", PROJECT, *args, cwd=self._clone, env=self._environ)


def _docker(*args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    return subprocess.run(["docker", *args], check=True, capture_output=True, text=True, cwd=cwd, env=env).stdout


def engine() -> set[Cgroup]:
    """The cgroups of the engine. One that somebody has started by hand gets its own."""
    pids = [process.pid for process in psutil.process_iter(["name"]) if process.info["name"] in ENGINE]
    return {Cgroup.of(pid, apart=PROJECT) for pid in pids}


def measure(clone: Path, seconds: float) -> dict[str, Cost]:
    engine()  # before the start, because the processes of the containers inherit it
    with Stack(clone).running() as services:
        time.sleep(SETTLE_SECONDS)
        groups = {**{name: {group} for name, group in services.items()}, "Docker": engine()}
        begin, before = time.perf_counter(), {name: _cpu(found) for name, found in groups.items()}
        time.sleep(seconds)
        lasted = time.perf_counter() - begin
        memory = {name: group.memory() / MEGABYTE for name, group in services.items()}
        return {name: Cost((_cpu(found) - before[name]) / lasted, memory.get(name)) for name, found in groups.items()}


def _cpu(groups: set[Cgroup]) -> float:
    return sum(group.cpu() for group in groups)


def shown(costs: Mapping[Path, Mapping[str, Cost]]) -> str:
    """A table in Markdown: a row for each service, and a column for each clone."""
    rows = [(name, *(_text(cost[name]) for cost in costs.values())) for name in (*SERVICES, "Docker")]
    totals = [
        Cost(sum(each.cpu for each in cost.values()), sum(each.memory or 0 for each in cost.values()))
        for cost in costs.values()
    ]
    return table(("", *(clone.name for clone in costs)), [*rows, ("all", *map(_text, totals))])


def _text(cost: Cost) -> str:
    share = f"{100 * cost.cpu:.2f} % of a core"
    return share if cost.memory is None else f"{share}, {cost.memory:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rest", description=__doc__)
    parser.add_argument("clones", nargs="*", type=services.folder, default=[ROOT], metavar="CLONE")
    parser.add_argument("--seconds", type=float, default=300.0, help="how long each is measured")
    options = parser.parse_args()
    costs = {}
    for clone in options.clones:
        with console.step(f"The stack of {clone} at rest"):
            costs[clone] = measure(clone, options.seconds)
    print(shown(costs))  # noqa: T201 - for a person
    print(f"The machine's load: {os.getloadavg()[1]:.1f}")  # noqa: T201 - for a person


if __name__ == "__main__":
    main()
