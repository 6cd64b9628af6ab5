"""docs/benchmarks.md: the figures as tables, each beside what it was to be. Pure."""

from collections.abc import Callable
from typing import Any

Figures = dict[str, Any]
Row = tuple[str, ...]
# What the latency consists of.
PARTS = {"e2e": "published to stored", "parts": "publish + insert", "publish": "publish", "insert": "insert"}


def table(head: Row, rows: list[Row]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def goals(figures: Figures) -> list[Row]:
    """What was measured, and what was asked for."""
    drain, late, latency = figures["drain"], figures["punctuality"], figures["latency"]
    worker, stub = figures["footprint"]["worker"], figures["footprint"]["api_stub"]
    growth, coins = figures["growth"], figures["growth"]["coins"]
    ours, idle, busy = drain["api_stub"], late["idle"]["worker"], late["one core busy"]["worker"]
    most = max(growth["workers"], key=int)
    crowd = growth["workers"][most]
    fewest, largest = min(coins, key=int), max(coins, key=int)
    grown = stub["memory of all"] / stub["memory of a part"] - 1
    steps = int(largest) / int(fewest)
    return [
        ("drain / `insert_many`", f"{ours / drain['insert_many']:.2f}", "at least 0.55"),
        ("drain / FastStream's batch subscriber", f"{ours / drain['faststream']:.2f}", "at least 3"),
        ("latency p50 / publish and insert", f"{latency['e2e_p50'] / latency['parts_p50']:.2f}", "at most 1.5"),
        ("a slot is late, idle, p50", milliseconds(idle["p50"]), "under 2 ms"),
        ("a slot is late, idle, p99", milliseconds(idle["p99"]), "under 10 ms"),
        ("a slot is late, one core busy, p99", milliseconds(busy["p99"]), "under 25 ms"),
        ("API stub's memory, from a tenth of the events to all", f"{100 * grown:+.1f} %", "within 5 %"),
        ("worker's memory, idle", f"{worker['memory']:.0f} MB", "under 50 MB"),
        ("worker's CPU, idle", f"{100 * worker['cpu']:.2f} % of a core", "under 0.2 %"),
        (f"cost of {largest} coins / of {fewest}", f"{coins[largest] / coins[fewest]:.0f}", f"at most {steps:.0f}"),
        (f"{most} workers: market calls for a slot", f"{crowd['market calls a slot']:.0f}", "at most 3"),
        (f"{most} workers: events a slot", f"{crowd['events a slot']:.0f}", "1"),
    ]


def render(figures: Figures, machine: str) -> str:
    intro = (
        "`make bench` measures all of this in one go, and writes this page, its plots and"
        " [the figures](benchmarks.json). Limits and peers are measured in the same run, so that the ratios stand"
        f" where the figures do not. This run: {machine}."
    )
    parts = ["# Benchmarks", intro, table(("figure", "measured", "asked for"), goals(figures))]
    for name, section in SECTIONS.items():
        parts += [f"## {name.capitalize()}", *section(figures[name])]
    return "\n\n".join(parts) + "\n"


def _drain(figures: Figures) -> list[str]:
    ours = figures["api_stub"]
    return [
        (
            "A backlog of events of three quotes each in JetStream, stored by one API stub with majority and journal."
            " `insert_many` has the same documents in memory; `receive` acknowledges and stores nothing; FastStream and"
            " the plain loop (`fetch(1)`, `insert_one`, ack) store the same documents, and FastStream checks, with"
            " pydantic, what the API stub checks."
        ),
        "![Events a second](benchmarks-drain.svg)",
        table(
            ("", "events a second", "API stub / this"),
            [(name, f"{pace:,.0f}", f"{ours / pace:.2f}") for name, pace in figures.items()],
        ),
    ]


def _latency(figures: Figures) -> list[str]:
    return [
        (
            "From before the publish until the event is found in MongoDB, one at a time, and the sum of one JetStream"
            " publish and one majority insert."
        ),
        table(
            ("", "p50", "p99"),
            [
                (text, milliseconds(figures[f"{name}_p50"]), milliseconds(figures[f"{name}_p99"]))
                for name, text in PARTS.items()
            ],
        ),
    ]


def _punctuality(figures: Figures) -> list[str]:
    return [
        "How late each of the slots of a one-second schedule fires. `schedule` is its documented loop.",
        "![Milliseconds late](benchmarks-punctuality.svg)",
        table(
            ("", "load", "p50", "p99"),
            [
                (name, load, milliseconds(found["p50"]), milliseconds(found["p99"]))
                for load, contenders in figures.items()
                for name, found in contenders.items()
            ],
        ),
    ]


def _growth(figures: Figures) -> list[str]:
    coins = [(count, milliseconds(cost)) for count, cost in figures["coins"].items()]
    stubs = [(count, f"{pace:,.0f}") for count, pace in figures["stubs"].items()]
    workers = [
        (
            count,
            f"{of['market calls a slot']}",
            f"{of['events a slot']}",
            f"{of['slots with data']} of {of['slots']}",
        )
        for count, of in figures["workers"].items()
    ]
    return [
        "![Milliseconds a slot](benchmarks-coins.svg)",
        table(("coins", "a slot, until NATS has its event"), coins),
        table(("API stubs", "events a second"), stubs),
        table(("workers", "market calls a slot, at most", "events a slot", "slots with data"), workers),
    ]


def _footprint(figures: Figures) -> list[str]:
    stub = figures["api_stub"]
    return [
        table(
            ("", "start to first event", "memory", "idle CPU"),
            [
                (name, f"{of['start']:.2f} s", f"{of['memory']:.0f} MB", f"{100 * of['cpu']:.2f} % of a core")
                for name, of in figures.items()
            ],
        ),
        (
            "The memory is that of a minute without work, the API stub's behind the load. Under load the API stub takes"
            f" {stub['seconds an event'] * 1e6:.1f} us of CPU for an event, and has {stub['memory of a part']:.0f} MB"
            f" at a tenth of the events and {stub['memory of all']:.0f} MB at all."
        ),
    ]


def _cluster(figures: Figures) -> list[str]:
    latencies = [
        (text, *(milliseconds(of["latency"][f"{key}_{q}"]) for of in figures.values() for q in ("p50", "p99")))
        for key, text in PARTS.items()
    ]
    loads = " and ".join(f"{of['load']:.1f}" for of in figures.values())
    idle = [(server, *(_cost(of[server]) for of in figures.values())) for server in ("nats-server", "mongod")]
    return [
        (
            "Three nats-servers with a stream of three replicas and a replica set of three, against one of each, all on"
            " this one machine. The latency is measured as above. Idle is what all servers of a kind take together,"
            " after these events, with an API stub connected and nothing to do. The machine's load meanwhile, by"
            f" everything that ran on it: {loads}."
        ),
        table(("", "single p50", "p99", "cluster p50", "p99"), latencies),
        table(("idle", *figures), idle),
    ]


def _cost(of: Figures) -> str:
    return f"{of['memory']:.0f} MB, {100 * of['cpu']:.1f} % of a core"


SECTIONS: dict[str, Callable[[Figures], list[str]]] = {
    "drain": _drain,
    "latency": _latency,
    "punctuality": _punctuality,
    "growth": _growth,
    "footprint": _footprint,
    "cluster": _cluster,
}
