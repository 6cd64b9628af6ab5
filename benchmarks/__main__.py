"""All benchmarks in one go: the figures into docs/benchmarks.json, and what they say into docs/benchmarks.md.

python -m benchmarks [--scale 1.0]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

from benchmarks import drain, footprint, growth, latency, plot, punctuality, report

# From this scale on, a drain is the median of three.
THOROUGH = 0.5
DOCS = Path(__file__).parents[1] / "docs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="a part of the events and slots, for a quick look")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="FOLDER")
    options = parser.parse_args()

    def of(whole: int) -> int:
        return max(int(whole * options.scale), 1)

    figures = {
        "drain": drain.measure(of(200_000), 3 if options.scale >= THOROUGH else 1),
        "latency": latency.run(of(500)),
        "punctuality": punctuality.run(of(120)),
        "growth": growth.measure(of(100_000)),
        "footprint": footprint.measure(of(1_000_000), of(60)),
    }
    (options.docs / "benchmarks.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    plot.draw(figures, options.docs)
    machine = (
        f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, scale {options.scale:g}"
    )
    (options.docs / "benchmarks.md").write_text(report.render(figures, machine), encoding="utf-8")
    for name, measured, asked in report.goals(figures):
        print(f"{name:55} {measured:20} {asked}")  # noqa: T201 - for a person
    return 0


if __name__ == "__main__":
    sys.exit(main())
