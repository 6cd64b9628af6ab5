"""The slots of a span: those that were expected, and what is stored of them. Pure."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Literal, NamedTuple

from crypto_updates.bus.event import text
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import budget

SECOND = timedelta(seconds=1)
# Seconds that publishing and storing may take before an event counts as missing.
ON_ITS_WAY = 2.0
# What a row of a table spans, and how many rows there may be before it spans more.
STEPS = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))
MOST_ROWS = 36
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


class Stored(NamedTuple):
    """A slot's event: seconds from the slot to its arrival (None where that is not known); True if it has data."""

    lag: float | None
    data: bool


class Cell(NamedTuple):
    """`lag`: seconds from the slot to its event's arrival; `data`: True if that has quotes."""

    slot: datetime
    state: Literal["stored", "late", "missing", "pending", "before"]
    lag: float | None = None
    data: bool = False


class Gap(NamedTuple):
    """Slots in succession that are missing."""

    first: datetime
    last: datetime
    slots: int

    def __str__(self) -> str:
        return text(self.first) + (f" to {text(self.last)} ({self.slots} slots)" if self.slots > 1 else "")


class Row(NamedTuple):
    """A span's figures. `bare`: without data; `strays`: events that are at no slot; `lags`: seconds, in order."""

    start: datetime
    expected: int
    late: int
    bare: int
    strays: int
    gaps: Sequence[Gap]
    lags: Sequence[float]

    @property
    def missing(self) -> int:
        return sum(gap.slots for gap in self.gaps)

    @property
    def stored(self) -> int:
        return self.expected - self.missing


def grace(cron: Cron, now: datetime) -> timedelta:
    """How long after its slot an event may come: the worker's own limit for a fetch, and the way to MongoDB."""
    return timedelta(seconds=_limit(cron, cron.previous(now)))


def compare(cron: Cron, start: datetime, end: datetime, stored: Mapping[datetime, Stored]) -> Row:
    """The slots from `start` to `end`, both included, and what is stored of them. All times are whole seconds."""
    slots = list(cron.between(start - SECOND, end))
    found = [(slot, stored[slot]) for slot in slots if slot in stored]
    timed = [(slot, event.lag) for slot, event in found if event.lag is not None]
    return Row(
        start,
        expected=len(slots),
        late=sum(_is_late(cron, slot, lag) for slot, lag in timed),
        bare=sum(not event.data for _, event in found),
        strays=len(stored) - len(found),
        gaps=_gaps(slots, stored),
        lags=array("d", sorted(lag for _, lag in timed)),
    )


def cells(
    cron: Cron, start: datetime, now: datetime, beginning: datetime | None, stored: Mapping[datetime, Stored]
) -> list[Cell]:
    """The slots after `start` and up to now, each with its state. Before the `beginning` no slot was expected."""
    due = now - grace(cron, now)
    return [_cell(cron, slot, stored.get(slot), slot <= due, beginning) for slot in cron.between(start, now)]


def about(cron: Cron, start: datetime, end: datetime) -> int:
    """How many slots there are between, by the distance of the newest two."""
    return int((end - start) / (cron.next(end) - cron.previous(end)))


def figures(cells: Sequence[Cell]) -> dict[str, int]:
    """How many are expected, stored (late ones included), late and missing; the undecided count for none of them."""
    states = Counter(cell.state for cell in cells)
    stored = states["stored"] + states["late"]
    return {
        "expected": stored + states["missing"],
        "stored": stored,
        "late": states["late"],
        "missing": states["missing"],
    }


def total(cron: Cron, rows: Sequence[Row]) -> Row:
    """The figures of rows that follow on each other, at least one."""
    return Row(
        rows[0].start,
        expected=sum(row.expected for row in rows),
        late=sum(row.late for row in rows),
        bare=sum(row.bare for row in rows),
        strays=sum(row.strays for row in rows),
        gaps=_joined(cron, (gap for row in rows for gap in row.gaps)),
        lags=array("d", sorted(lag for row in rows for lag in row.lags)),
    )


def pieces(cron: Cron, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The span in pieces for a row each, both ends included: ten minutes, hours, days or weeks, by the clock in UTC.

    They are as short as they can be, with not too many rows and not just one slot in each.
    """
    interval = cron.next(end) - cron.previous(end)
    fit = (step for step in STEPS if end - start <= MOST_ROWS * step and 2 * interval <= step)
    step = next(fit, STEPS[-1])
    while start <= end:
        following = MONDAY + ((start - MONDAY) // step + 1) * step
        yield start, min(following - SECOND, end)
        start = following


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """By the nearest rank; None of nothing."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else None


def named(gaps: Sequence[Gap], most: int) -> str:
    """So many of the gaps, and how many slots there are in the rest."""
    more = sum(gap.slots for gap in gaps[most:])
    return ", ".join(map(str, gaps[:most])) + (f" and {more} more" if more else "")


def _cell(cron: Cron, slot: datetime, event: Stored | None, due: bool, beginning: datetime | None) -> Cell:  # noqa: FBT001 - of the module
    if event is None:
        early = beginning is None or slot < beginning
        return Cell(slot, "before" if early else "missing" if due else "pending")
    late = event.lag is not None and _is_late(cron, slot, event.lag)
    return Cell(slot, "late" if late else "stored", event.lag, event.data)


def _limit(cron: Cron, slot: datetime) -> float:
    return budget(cron, slot) + ON_ITS_WAY


def _is_late(cron: Cron, slot: datetime, lag: float) -> bool:
    # The limit costs a look at the schedule, which most events need not have.
    return lag > ON_ITS_WAY and lag > _limit(cron, slot)


def _gaps(slots: Sequence[datetime], stored: Container[datetime]) -> list[Gap]:
    runs = ((there, list(run)) for there, run in groupby(slots, stored.__contains__))
    return [Gap(run[0], run[-1], len(run)) for there, run in runs if not there]


def _joined(cron: Cron, gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps, those made one that have no slot between them."""
    joined: list[Gap] = []
    for gap in gaps:
        if joined and cron.next(joined[-1].last) == gap.first:
            before = joined.pop()
            joined.append(Gap(before.first, gap.last, before.slots + gap.slots))
        else:
            joined.append(gap)
    return joined
