"""An audit as a table for people, and as JSON for machines."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from crypto_updates.bus.event import text
from crypto_updates.bus.figures import Figures
from crypto_updates.clock import span
from crypto_updates.clock.slots import Row, percentile
from stack.check.repair import Repair
from stack.check.target import API_LOG

# In the table. JSON names all.
MAX_NAMED_GAPS = 20
COLUMNS = ("slots from, UTC", "expected", "stored", "missing", "late", "no data", "lag p50", "p99", "max")
WIDTHS = (17, 8, 7, 8, 6, 8, 9, 9, 9)
# The seconds in each unit. A lag is shown in the largest unit that it fills twice.
UNITS = (("d", 86_400), ("h", 3_600), ("min", 60))


class Audit(NamedTuple):
    """`letters` were received since `asked`. When `figures` is None, `problem` says why NATS did not tell them.

    `is_aged`: the feed began before the events that MAX_EVENT_AGE keeps.
    """

    feed: str
    schedule: str
    asked: datetime
    until: datetime
    rows: list[Row]
    total: Row
    newest_stored: datetime | None
    letters: int
    figures: Figures | None
    newest_published: datetime | None
    problem: str | None
    max_event_age: timedelta | None = None
    is_aged: bool = False
    repair: Repair | None = None


def table(audit: Audit) -> Iterator[str]:
    """Line by line."""
    total = audit.total
    yield f"Feed {audit.feed}, schedule {audit.schedule}: {text(total.start)}{_start(audit)} to {text(audit.until)}"
    yield _aligned(COLUMNS)
    for row in audit.rows:
        if row.expected:
            yield _aligned((text(row.start)[:16].replace("T", " "), *_figures(row))) + _mark(row)
    yield _aligned(("total", *_figures(total))) + _mark(total)
    yield from _missing(total)
    if total.foreign:
        yield (
            f"Foreign: {total.foreign} of the stored slots have no event of feed {audit.feed}, but one whose id names"
            " no feed, less than a second after the slot"
        )
    if total.strays:
        yield f"Events at no slot of the schedule: {total.strays}; SCHEDULE and SCHEDULE_TZ must be the worker's"
    yield from _surroundings(audit)


def document(audit: Audit) -> str:
    """The same as JSON: times in ISO 8601, lags in seconds."""
    figures = audit.figures
    whole = {
        "feed": audit.feed,
        "schedule": audit.schedule,
        "since": text(audit.total.start),
        "until": text(audit.until),
        "max_event_age": audit.max_event_age and audit.max_event_age.total_seconds(),
        **_fields(audit.total),
        "gaps": [{"from": text(gap.first), "to": text(gap.last), "slots": gap.slots} for gap in audit.total.gaps],
        "rows": [{"since": text(row.start), **_fields(row)} for row in audit.rows],
        "dead_letters": audit.letters,
        "newest_stored": _time(audit.newest_stored),
        "nats": figures and {**figures._asdict(), "newest_published": _time(audit.newest_published)},
        "nats_problem": audit.problem,
    }
    if audit.repair:
        whole["repair"] = outcome(audit.repair)
    return json.dumps(whole, indent=2)


def outcome(done: Repair) -> dict[str, Any]:
    """What a repair did, for JSON."""
    return {
        "missing": done.missing,
        "published": len(done.published),
        "already_in_stream": done.known,
        "stored_from_stream": done.restored,
        "not_stored_yet": done.waiting,
        "not_published": done.left,
        "without_data": done.without_data,
        "sources": sorted(done.sources),
        "problem": done.problem,
    }


def repaired(done: Repair) -> Iterator[str]:
    """The same for people, line by line."""
    source = f" with data of {', '.join(sorted(done.sources))}" if done.sources else ""
    yield f"Repair: {len(done.published)} published{source}, {done.without_data} stay without data"
    if done.known:
        yield f"  {done.known} were in the stream already: {done.restored} stored from there"
    if done.bare:
        yield f"  {done.bare} without data: MARKET_SOURCE and MARKET_FALLBACK have no prices of their time"
    if done.waiting:
        yield f"  {done.waiting} not in MongoDB yet: {API_LOG}"
    if done.left:
        yield f"  {done.left} not published: {done.problem}; repeat the command"


def _start(audit: Audit) -> str:
    """Why the audit begins later than was asked for."""
    if audit.total.start <= audit.asked:
        return ""
    age = audit.max_event_age
    if age and audit.is_aged:
        return f" (the first that is kept: MAX_EVENT_AGE={span.shown(age)})"
    return " (its first slot)"


def _aligned(cells: tuple[str, ...]) -> str:
    first, *others = (cell.rjust(width) for cell, width in zip(cells, WIDTHS, strict=True))
    return " ".join([first.strip().ljust(WIDTHS[0]), *others])


def _mark(row: Row) -> str:
    return f"  {row.foreign} foreign" if row.foreign else ""


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
    yield from (f"  {gap}" for gap in total.gaps[:MAX_NAMED_GAPS])
    if more := sum(gap.slots for gap in total.gaps[MAX_NAMED_GAPS:]):
        yield f"  and {more} more (--json names all)"


def _surroundings(audit: Audit) -> Iterator[str]:
    letters, figures = audit.letters, audit.figures
    published = f"published {_time(audit.newest_published) or '(none is in the stream)'}, " if figures else ""
    yield f"Newest slot: {published}stored {_time(audit.newest_stored)}"
    advice = " (crypto-updates dead-letters list)" if letters else ""
    yield f"Dead letters since {text(audit.asked)}: {letters}{advice}"
    if figures is None:
        yield f"NATS: {audit.problem}"
        return
    yield (
        f"NATS: {figures.messages} messages in the stream; consumer: {figures.pending} waiting,"
        f" {figures.ack_pending} unacknowledged, {figures.redelivered} redelivered"
    )


def _fields(row: Row) -> dict[str, Any]:
    lags = {f"p{percent}": percentile(row.lags, percent) for percent in (50, 99)}
    return {
        "expected": row.expected,
        "stored": row.stored,
        "missing": row.missing,
        "late": row.late,
        "without_data": row.bare,
        "foreign": row.foreign,
        "at_no_slot": row.strays,
        "lag_seconds": lags | {"max": percentile(row.lags, 100)},
    }


def _time(slot: datetime | None) -> str | None:
    return text(slot) if slot else None
