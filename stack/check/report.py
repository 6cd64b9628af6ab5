"""How an audit reads: as a table for people, and as JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from crypto_updates.bus.event import text
from crypto_updates.clock.slots import Gap, Row, percentile

# Gaps that the table names; JSON has all.
NAMED = 20
COLUMNS = ("slots from, UTC", "expected", "stored", "missing", "late", "no data", "lag p50", "p99", "max")
WIDTHS = (17, 8, 7, 8, 6, 8, 9, 9, 9)
# The largest unit of which there are two; seconds in each.
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


class Flow(NamedTuple):
    """What NATS knows. `newest_published`: the feed's newest slot in the stream."""

    messages: int
    pending: int
    ack_pending: int
    redelivered: int
    newest_published: datetime | None


class Audit(NamedTuple):
    """`flow` is None where NATS was no help, and `problem` says why. `letters`: received since `asked`."""

    feed: str
    schedule: str
    asked: datetime
    until: datetime
    rows: list[Row]
    total: Row
    newest: datetime | None
    letters: int
    flow: Flow | None
    problem: str | None


def table(audit: Audit) -> Iterator[str]:
    """Line by line."""
    total = audit.total
    first = " (its first slot)" if total.start > audit.asked else ""
    yield f"Feed {audit.feed}, schedule {audit.schedule}: {text(total.start)}{first} to {text(audit.until)}"
    yield _aligned(COLUMNS)
    for row in audit.rows:
        if row.expected:
            yield _aligned((row.start.strftime("%Y-%m-%d %H:%M"), *_figures(row)))
    yield _aligned(("total", *_figures(total)))
    yield from _missing(total)
    if total.strays:
        yield f"Events at no slot of the schedule: {total.strays}; SCHEDULE and SCHEDULE_TZ must be the worker's"
    yield from _surroundings(audit)


def document(audit: Audit) -> str:
    """The same as JSON: times in ISO 8601, lags in seconds."""
    flow = audit.flow
    whole = {
        "feed": audit.feed,
        "schedule": audit.schedule,
        "since": text(audit.total.start),
        "until": text(audit.until),
        **_fields(audit.total),
        "gaps": [_gap(gap) for gap in audit.total.gaps],
        "rows": [{"since": text(row.start), **_fields(row)} for row in audit.rows],
        "dead_letters": audit.letters,
        "newest_stored": _time(audit.newest),
        "nats": flow and {**flow._asdict(), "newest_published": _time(flow.newest_published)},
        "nats_problem": audit.problem,
    }
    return json.dumps(whole, indent=2)


def _aligned(cells: tuple[str, ...]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return " ".join([first.strip().ljust(WIDTHS[0]), *others])


def _figures(row: Row) -> tuple[str, ...]:
    lags = (_lag(percentile(row.lags, percent)) for percent in (50, 99, 100))
    return (*(str(number) for number in (row.expected, row.stored, row.missing, row.late, row.bare)), *lags)


def _lag(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, size in UNITS:
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.2f} s"


def _missing(total: Row) -> Iterator[str]:
    if not total.gaps:
        yield "No slot is missing." if total.expected else "No slot was due."
        return
    yield "Missing:"
    yield from (f"  {gap}" for gap in total.gaps[:NAMED])
    if more := sum(gap.slots for gap in total.gaps[NAMED:]):
        yield f"  and {more} more (--json names all)"


def _surroundings(audit: Audit) -> Iterator[str]:
    letters, flow = audit.letters, audit.flow
    published = f"published {_time(flow.newest_published) or '(none is in the stream)'}, " if flow else ""
    yield f"Newest slot: {published}stored {_time(audit.newest)}"
    advice = " (python -m stack dead-letters list)" if letters else ""
    yield f"Dead letters since {text(audit.asked)}: {letters}{advice}"
    if flow is None:
        yield f"NATS: {audit.problem}"
        return
    yield (
        f"NATS: {flow.messages} messages in the stream; consumer: {flow.pending} waiting,"
        f" {flow.ack_pending} unacknowledged, {flow.redelivered} redelivered"
    )


def _fields(row: Row) -> dict[str, Any]:
    lags = {f"p{percent}": percentile(row.lags, percent) for percent in (50, 99)}
    return {
        "expected": row.expected,
        "stored": row.stored,
        "missing": row.missing,
        "late": row.late,
        "without_data": row.bare,
        "at_no_slot": row.strays,
        "lag_seconds": lags | {"max": percentile(row.lags, 100)},
    }


def _gap(gap: Gap) -> dict[str, Any]:
    return {"from": text(gap.first), "to": text(gap.last), "slots": gap.slots}


def _time(slot: datetime | None) -> str | None:
    return text(slot) if slot else None
