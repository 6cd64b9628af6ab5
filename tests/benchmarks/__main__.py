"""All benchmarks in one go: the figures into docs/benchmarks.json, and what they say into docs/benchmarks.md.

    python -m tests.benchmarks [--scale 1.0] [NAME ...]

Of some of them, or at another scale, the figures are only printed.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks import (
    cluster,
    drain,
    flood,
    footprint,
    growth,
    latency,
    plot,
    punctuality,
    reaction,
    report,
    rounds,
    slot,
)
from tests.benchmarks.table import Figures
from tests.support import ROOT

# From this scale on, what is measured is the median of so many rounds; below it, a look at one.
THOROUGH, ROUNDS = 0.5, 3
# A whole run takes 26 minutes on a quiet machine. After so long no round is repeated, so that it ends within 35.
REPEAT_SECONDS = 20 * 60.0
# Below this one, a drain is over before its pace can be seen.
SMALLEST = 0.1
DOCS = ROOT / "docs"


class Benchmark(NamedTuple):
    """`measure` gets the number of the round."""

    rounds: int
    measure: Callable[[int], Figures]


def benchmarks(scale: float) -> dict[str, Benchmark]:
    times = ROUNDS if scale >= THOROUGH else 1

    def of(whole: int) -> int:
        return int(whole * scale)

    return {
        "drain": Benchmark(times, lambda number: drain.measure(number, of(100_000))),
        "latency": Benchmark(times, lambda _: latency.measure(of(200))),
        "punctuality": Benchmark(times, lambda _: punctuality.measure(of(15))),
        "slot": Benchmark(times, lambda _: slot.measure(max(of(10), 4))),
        # Fewer would be stored before the last of the API stubs has started.
        "growth": Benchmark(1, lambda _: growth.measure(200_000)),
        "footprint": Benchmark(min(times, 2), lambda _: footprint.measure(of(150_000), of(40))),
        "cluster": Benchmark(times, lambda _: cluster.measure(of(200), of(10))),
        # Of a shorter one it cannot be told which slots were stored.
        "flood": Benchmark(times, lambda _: flood.measure(5)),
        # Rounds of its own, because it tells of the slowest.
        "reaction": Benchmark(1, lambda _: reaction.measure(times)),
    }


def write(figures: Figures, scale: float, folder: Path) -> None:
    (folder / "benchmarks.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    plot.draw(figures, folder)
    machine = f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, scale {scale:g}"
    (folder / "benchmarks.md").write_text(report.render(figures, machine), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", metavar="NAME", help="these ones; without, all of them")
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the events and slots, for a quick look")
    parser.add_argument("--docs", type=Path, metavar="FOLDER", help="write the page there, whatever the scale")
    options = parser.parse_args()
    run = benchmarks(options.scale)
    if options.scale < SMALLEST:
        parser.error(f"--scale {options.scale:g}: at least {SMALLEST}")
    if unknown := [name for name in options.only if name not in run]:
        parser.error(f"{unknown[0]}: not one of {', '.join(run)}")
    if options.only and options.docs:
        parser.error("--docs: goes with all of them")
    figures, begin = dict[str, Figures](machine={}), time.monotonic()
    for name in options.only or run:
        repeats = options.scale >= THOROUGH and time.monotonic() - begin < REPEAT_SECONDS
        figures[name], figures["machine"][name] = rounds.take(name, *run[name], repeated=rounds.REPEATED * repeats)
    print(json.dumps(figures, indent=2))  # noqa: T201 - for a person
    if options.only:
        return 0
    if folder := options.docs or (DOCS if options.scale == 1 else None):
        write(figures, options.scale, folder)
    for name, measured, asked in report.goals(figures):
        print(f"{name:55} {measured:20} {asked}")  # noqa: T201 - for a person
    return 0


if __name__ == "__main__":
    sys.exit(main())
