"""All benchmarks in one go: the figures into docs/benchmarks.json, and what they say into docs/benchmarks.md.

    python -m tests.benchmarks [--scale 1.0] [drain latency punctuality growth footprint cluster]

Of some of them, or at another scale, the figures are only printed.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks import cluster, drain, footprint, growth, latency, plot, punctuality, report
from tests.support import ROOT

# From this scale on, a drain is the median of three.
THOROUGH = 0.5
# Below this one, a drain is over before its pace can be seen.
SMALLEST = 0.1
DOCS = ROOT / "docs"


def benchmarks(scale: float) -> dict[str, Callable[[], dict[str, Any]]]:
    def of(whole: int) -> int:
        return int(whole * scale)

    return {
        "drain": lambda: drain.measure(of(200_000), 3 if scale >= THOROUGH else 1),
        "latency": lambda: latency.measure(of(500)),
        "punctuality": lambda: punctuality.measure(of(120)),
        # Fewer would be stored before the last of the API stubs has started.
        "growth": lambda: growth.measure(max(of(400_000), 200_000)),
        "footprint": lambda: footprint.measure(of(1_000_000), of(60)),
        "cluster": lambda: cluster.measure(of(500), of(30)),
    }


def write(figures: dict[str, Any], scale: float, folder: Path) -> None:
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
    figures = {name: run[name]() for name in options.only or run}
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
