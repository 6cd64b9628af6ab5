"""What a change gained: the services of an older commit beside those of this folder, by the same benchmarks in turn.

    python -m tests.benchmarks.before COMMIT [--rounds 2]

Prints a table. Takes about five minutes. A service of both runs in the environment of this command.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crypto_updates.local import guard, programs
from crypto_updates.local.servers import NatsServer
from stack import console
from tests.benchmarks import rounds, slot
from tests.benchmarks.drain import Rig
from tests.benchmarks.flood import DAY, Bench
from tests.benchmarks.footprint import Watched
from tests.benchmarks.quantile import p50
from tests.benchmarks.table import Figures, table
from tests.support import ROOT

BACKLOG, FLOOD_SECONDS, SLOTS = 60_000, 3, 10
PATHS = {
    "/events?limit=5": "/events?limit=5",
    "/stats": "/stats?coin=bitcoin",
    "/slots?hours=24": "/slots?hours=24",
    "/prices of a day": DAY,
    "/metrics": "/metrics",
}
# What the median figures are, and how the table shows them.
SHOWN = {
    "drain": ("drain, events a second", "{:,.0f}"),
    "drain's CPU": ("drain, the API stub's us of CPU an event", "{:.1f}"),
    "slot": ("slot to stream p50, ms", "{:.2f}"),
    **{path: (f"`{path}`, requests a second", "{:,.0f}") for path in PATHS},
    "worker memory": ("worker at rest, MB", "{:.1f}"),
    "worker cpu": ("worker at rest, % of a core", "{:.3f}"),
    "api_stub memory": ("API stub at rest, MB", "{:.1f}"),
    "api_stub cpu": ("API stub at rest, % of a core", "{:.3f}"),
}


@contextmanager
def services_of(folder: Path) -> Iterator[None]:
    """The services are started from this folder."""
    own, programs.FOLDER = programs.FOLDER, folder
    try:
        yield
    finally:
        programs.FOLDER = own


def export(commit: str, folder: Path) -> None:
    archive = folder / "commit.tar"
    subprocess.run(["git", "archive", "--output", archive, commit], cwd=ROOT, check=True)
    subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)


def drain() -> dict[str, float]:
    with ExitStack() as closing:
        found = Rig(closing, BACKLOG).api_stub()
    return {"drain": found["pace"], "drain's CPU": 1e6 * found["own"]}


def flood() -> dict[str, float]:
    with ExitStack() as closing:
        bench = Bench(closing)
        return {name: bench.under(path, FLOOD_SECONDS)["requests a second"] for name, path in PATHS.items()}


def rest() -> dict[str, float]:
    """Of both services at rest, while two workers of another NATS have a slot now and then."""
    with ExitStack() as closing:
        rig = Rig(closing, 1)
        watched = {name: Watched(rig, name, Path(sys.executable), SCHEDULE="@daily") for name in ("worker", "api_stub")}
        for service in watched.values():
            closing.callback(service.process.stop)
        rig.stored(2)  # the worker's first slot, too
        server = closing.enter_context(NatsServer())
        slot.start_workers(closing, server.url, rig.data)
        begin, before = time.perf_counter(), {name: service.cpu() for name, service in watched.items()}
        time.sleep((slot.WARM_UP + SLOTS) * slot.EVERY_SECONDS)
        lasted = time.perf_counter() - begin
        figures = {"slot": 1000 * p50(asyncio.run(slot.lateness(server.url, "worker"))["worker"])}
        for name, service in watched.items():
            figures[f"{name} memory"] = service.memory()
            figures[f"{name} cpu"] = 100 * (service.cpu() - before[name]) / lasted
        return figures


def measure(number: int, folders: Mapping[str, Path]) -> Figures:
    """Each part for the one and then for the other, by turns in this order and in the other one."""
    found: dict[str, dict[str, float]] = {name: {} for name in folders}
    for part in (drain, flood, rest):
        for name in list(folders)[:: -1 if number % 2 else 1]:
            with services_of(folders[name]), console.step(f"{part.__name__}, {name}"):
                found[name] |= part()
    return found


def shown(figures: Figures) -> str:
    rows = [
        (
            text,
            shape.format(figures["before"][name]),
            shape.format(figures["after"][name]),
            f"{figures['after'][name] / figures['before'][name]:.2f}",
        )
        for name, (text, shape) in SHOWN.items()
    ]
    return table(("", "before", "after", "after / before"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.before", description=__doc__)
    parser.add_argument("commit", metavar="COMMIT", help="the older one, as git names it")
    parser.add_argument("--rounds", type=int, default=2, help="each figure is their median")
    options = parser.parse_args()
    with guard.folder() as folder:
        export(options.commit, folder)
        folders = {"before": folder, "after": ROOT}
        figures, machine = rounds.take("before", options.rounds, lambda number: measure(number, folders))
    console.say("\n\n".join([shown(figures), *rounds.section({"before and after": machine})]))


if __name__ == "__main__":
    main()
