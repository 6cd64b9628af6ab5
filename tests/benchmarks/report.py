"""docs/benchmarks.md: the figures as tables, each beside what it was to be. Pure."""

from collections.abc import Callable

from tests.benchmarks import flood, reaction, rounds
from tests.benchmarks.table import Figures, Row, milliseconds, table

# What the latency consists of.
PARTS = {"e2e": "published to stored", "parts": "publish + insert", "publish": "publish", "insert": "insert"}
MICROSECONDS = 1e6
SLOT_LOADS = ("idle", "one core busy")
# In this order, and what the page says of each.
SLOT_ROWS = {
    "worker": "two workers, outbox on",
    "limit": "timer + publish, acknowledged",
    "timer": "timer",
    "publish": "publish, acknowledged",
    "plain": "plain sleep and nats-py",
    "NATS's own schedule": "NATS's own schedule (`Nats-Schedule`)",
    "apscheduler": "APScheduler and nats-py",
}


def goals(figures: Figures) -> list[Row]:
    """What was measured, and what was asked for."""
    drain = {name: of["pace"] for name, of in figures["drain"].items()}
    late, latency = figures["punctuality"], figures["latency"]
    worker, stub = figures["footprint"]["worker"], figures["footprint"]["api_stub"]
    limit, to_stream = figures["slot"]["idle"]["limit"], [figures["slot"][load]["worker"] for load in SLOT_LOADS]
    taken = MICROSECONDS * figures["drain"]["api_stub"]["own"]
    growth, coins = figures["growth"], figures["growth"]["coins"]
    ours, idle, busy = drain["api_stub"], late["idle"]["worker"], late["one core busy"]["worker"]
    most = max(growth["workers"], key=int)
    crowd = growth["workers"][most]
    fewest, largest = min(coins, key=int), max(coins, key=int)
    grown = stub["memory of all"] / stub["memory of a part"] - 1
    steps = int(largest) / int(fewest)
    return [
        ("drain / `insert_many`", f"{ours / drain['insert_many']:.2f}", "at least 0.85"),
        ("drain: API stub's CPU, an event", f"{taken:.1f} us", "at most 18 us"),
        ("drain / FastStream's batch subscriber", f"{ours / drain['faststream']:.2f}", "at least 3"),
        ("latency p50 / publish and insert", f"{latency['e2e_p50'] / latency['parts_p50']:.2f}", "at most 1.5"),
        ("a slot is late, idle, p50", milliseconds(idle["p50"]), "under 2 ms"),
        ("a slot is late, idle, p99", milliseconds(idle["p99"]), "under 10 ms"),
        ("a slot is late, one core busy, p99", milliseconds(busy["p99"]), "under 25 ms"),
        ("slot to stream p50 / timer and publish", f"{to_stream[0]['p50'] / limit['p50']:.2f}", "at most 1.0"),
        ("slot to stream p99, one core busy / idle", f"{to_stream[1]['p99'] / to_stream[0]['p99']:.2f}", "at most 3"),
        ("API stub's memory, from a tenth of the events to all", f"{100 * grown:+.1f} %", "within 5 %"),
        ("worker's memory, idle", f"{worker['memory']:.1f} MB", "under 40 MB"),
        ("worker's CPU, idle", f"{100 * worker['cpu']:.3f} % of a core", "under 0.05 %"),
        ("API stub's memory, idle", f"{stub['memory']:.1f} MB", "under 55 MB"),
        ("API stub's CPU, idle", f"{100 * stub['cpu']:.3f} % of a core", "under 0.15 %"),
        (f"cost of {largest} coins / of {fewest}", f"{coins[largest] / coins[fewest]:.0f}", f"at most {steps:.0f}"),
        (f"{most} workers: market calls for a slot", f"{crowd['market calls a slot']:.0f}", "at most 3"),
        (f"{most} workers: events a slot", f"{crowd['events a slot']:.0f}", "1"),
        *flood.goals(figures["flood"]),
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
    return [
        (
            "A backlog of events of three quotes each in JetStream, stored by one API stub with majority and journal."
            " `insert_many` has the same documents in memory; `receive` acknowledges and stores nothing; FastStream and"
            " the plain loop (`fetch(1)`, `insert_one`, ack) store the same documents, and FastStream checks, with"
            " pydantic, what the API stub checks. CPU is that of one event: of the process that receives or stores, and"
            " of each server meanwhile."
        ),
        "![Events a second](benchmarks-drain.svg)",
        table(
            ("", "events a second", "API stub / this", "CPU of its process", "of mongod", "of nats-server"),
            [
                (
                    name,
                    f"{of['pace']:,.0f}",
                    f"{figures['api_stub']['pace'] / of['pace']:.2f}",
                    *(f"{MICROSECONDS * of[process]:.1f} us" for process in ("own", "mongod", "nats-server")),
                )
                for name, of in figures.items()
            ],
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


def _slot(figures: Figures) -> list[str]:
    return [
        (
            "From the slot until the stream has its event, by the server's own timestamps. `timer` is how late a plain"
            " sleep ends, and `publish` takes until the acknowledgement, which nats-server sends once the event is on"
            " the disk."
        ),
        table(
            ("", *(f"{load}, {q}" for load in SLOT_LOADS for q in ("p50", "p99"))),
            [
                (text, *(milliseconds(figures[load][name][q]) for load in SLOT_LOADS for q in ("p50", "p99")))
                for name, text in SLOT_ROWS.items()
            ],
        ),
    ]


def _growth(figures: Figures) -> list[str]:
    coins = [(count, milliseconds(cost)) for count, cost in figures["coins"].items()]
    stubs = [(count, f"{pace:,.0f}") for count, pace in figures["stubs"].items()]
    workers = [
        (
            count,
            f"{of['market calls a slot']:.0f}",
            f"{of['events a slot']:.0f}",
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
                (name, f"{of['start']:.2f} s", f"{of['memory']:.0f} MB", f"{100 * of['cpu']:.3f} % of a core")
                for name, of in figures.items()
            ],
        ),
        (
            "Each service has the packages of its image and no others; the worker has simulated prices (a source on the"
            " network adds its HTTP client, about 6 MB). The memory is that of a minute without work."
            " [What the whole stack takes in Compose](scaling.md#at-rest) is measured by another"
            " command. Under load the API stub takes"
            f" {stub['seconds an event'] * 1e6:.1f} us of CPU for an event, and has {stub['memory of a part']:.0f} MB"
            f" at a tenth of the events and {stub['memory of all']:.0f} MB at all."
        ),
    ]


def _cluster(figures: Figures) -> list[str]:
    latencies = [
        (
            text,
            *(milliseconds(of["latency"][f"{key}_{q}"]) for of in figures.values() for q in ("p50", "p99")),
            *(_ratio(figures, "latency", f"{key}_{q}") for q in ("p50", "p99")),
        )
        for key, text in PARTS.items()
    ]
    idle = [
        (
            server,
            *(_cost(of[server]) for of in figures.values()),
            *(_ratio(figures, server, key) for key in ("memory", "cpu")),
        )
        for server in ("nats-server", "mongod")
    ]
    return [
        (
            "Three nats-servers with a stream of three replicas and a replica set of three, against one of each, all on"
            " this one machine. The latency is measured as above. Idle is what all servers of a kind take together,"
            " after these events, with an API stub connected and nothing to do."
        ),
        table(("", "single p50", "p99", "cluster p50", "p99", "cluster / single, p50", "p99"), latencies),
        table(("idle", *figures, "cluster / single, memory", "CPU"), idle),
    ]


def _cost(of: Figures) -> str:
    return f"{of['memory']:.0f} MB, {100 * of['cpu']:.1f} % of a core"


def _ratio(figures: Figures, part: str, key: str) -> str:
    return f"{figures['cluster'][part][key] / figures['single'][part][key]:.1f}"


SECTIONS: dict[str, Callable[[Figures], list[str]]] = {
    "drain": _drain,
    "latency": _latency,
    "punctuality": _punctuality,
    "slot": _slot,
    "growth": _growth,
    "footprint": _footprint,
    "cluster": _cluster,
    "flood": flood.section,
    "reaction": reaction.section,
    "machine": rounds.section,
}
