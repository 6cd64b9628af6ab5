"""The figures of docs/scaling.md: a year of events by its coins, and answers with many years, feeds and coins.

    python -m tests.benchmarks.scaling [year | answers]

Prints the tables of the page. Takes about five minutes, with nothing else on the machine.
"""

import argparse
from collections.abc import Mapping
from datetime import timedelta
from math import isinf

from api_stub.mongo import MONGO_SECONDS
from stack import console
from tests.benchmarks import answers, cost

A_YEAR = timedelta(days=365) // cost.QUARTER
# The stream keeps an event for 30 days, and MongoDB for ever.
A_MONTH = timedelta(days=30) // cost.QUARTER
# The events, the feeds and the coins of each column.
COLUMNS = (
    ("1 year", A_YEAR, 1, 3),
    ("10 years", A_YEAR * 10, 1, 3),
    ("as many events, of 10 feeds", A_YEAR * 10, 10, 3),
    ("of 100 feeds", A_YEAR * 10, 100, 3),
    ("a week of 1,000 coins", timedelta(days=7) // cost.QUARTER, 1, 1_000),
)


def year(slot: Mapping[str, float]) -> dict[str, str]:
    """What a year of `*/15` costs, by what one slot costs. Pure."""
    stored = slot["bytes in MongoDB"] + slot["bytes of its indexes"]
    return {
        "messages a slot": f"{slot['messages']:.0f}",
        "a slot in the stream": _bytes(slot["bytes in the stream"]),
        "until it is published": _seconds(slot["seconds until published"]),
        "until it is stored": _seconds(slot["seconds until stored"]),
        "API stub's memory": f"{slot['megabytes of the API stub']:.0f} MB",
        "30 days in the stream, one copy": _bytes(slot["bytes in the stream"] * A_MONTH),
        "a year in MongoDB, one copy": _bytes(stored * A_YEAR),
        "of this the events": _bytes(slot["bytes in MongoDB"] * A_YEAR),
        "of this the indexes": _bytes(slot["bytes of its indexes"] * A_YEAR),
        "a year on the network, of each copy": _bytes(slot["bytes in the stream"] * A_YEAR),
        "a year of storing": _seconds(slot["seconds until stored"] * A_YEAR),
    }


def _bytes(count: float) -> str:
    if count < 1000:
        return f"{count:.0f} B"
    for unit, size in (("TB", 1000**4), ("GB", 1000**3), ("MB", 1000**2)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1000:.3g} kB"


def _seconds(seconds: float) -> str:
    if isinf(seconds):
        return f"none in {MONGO_SECONDS:.0f} s"
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.3g} ms"


def table(columns: Mapping[str, Mapping[str, str]]) -> str:
    """A table in Markdown, with a column for each entry."""
    names = list(next(iter(columns.values())))
    rows = [["", *columns], ["---"] * (len(columns) + 1)]
    rows += [[name, *(column[name] for column in columns.values())] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def years() -> str:
    found = {}
    for coins in cost.SLOTS:
        with console.step(f"Slots of {coins:,} coins"):
            found[f"{coins:,} coins"] = year(cost.measure(coins))
    return table(found)


def waits() -> str:
    found = {}
    for name, *sizes in COLUMNS:
        with console.step(name):
            figures = answers.measure(*sizes)
        found[name] = {asked: (_bytes if "bytes" in asked else _seconds)(value) for asked, value in figures.items()}
    return table(found)


RUNS = {"year": years, "answers": waits}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("only", nargs="?", choices=RUNS, help="one of them; without, both")
    only = parser.parse_args().only
    for name in [only] if only else RUNS:
        console.say(f"\n{RUNS[name]()}")


if __name__ == "__main__":
    main()
