"""The slots of a span: which were expected, and which are stored. Pure."""

import math
from array import array
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from crypto_updates.bus.event import text
from crypto_updates.clock.cron import SECOND, Cron
from crypto_updates.clock.timetable import budget

# Publishing and storing may take this long before an event counts as late or missing.
DELIVERY_SECONDS = 2.0
# What a row of a table may span: the shortest with which there are at most MAX_ROWS rows.
ROW_SPANS = (timedelta(minutes=10), timedelta(hours=1), timedelta(days=1), timedelta(weeks=1))
MAX_ROWS = 36
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


class Stored(NamedTuple):
    """A slot's event. `lag`: seconds from the slot to its arrival, None if unknown. `data`: whether it has quotes.

    `foreign`: its id names no feed, and it counts because its time is within a second after the slot.
    """

    lag: float | None
    data: bool
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """`pending`: may still arrive. `before`: before the first slot that is kept, so it is not expected."""

    slot: datetime
    state: Literal["stored", "late", "missing", "pending", "before"]
    lag: Annotated[float | None, Field(description="seconds from the slot to its event's arrival")] = None
    data: Annotated[bool, Field(description="whether its event has quotes")] = False
    foreign: Annotated[bool, Field(description="whether its event's id names no feed")] = False


class Gap(NamedTuple):
    """Missing slots that follow each other."""

    first: datetime
    last: datetime
    slots: int

    def __str__(self) -> str:
        return text(self.first) + (f" to {text(self.last)} ({self.slots} slots)" if self.slots > 1 else "")


class Row(NamedTuple):
    """A span's figures.

    `bare`: events without data. `strays`: events at no slot. `lags`: seconds, ascending. `foreign`: slots that have
    only an event of no feed.
    """

    start: datetime
    expected: int
    late: int
    bare: int
    strays: int
    gaps: Sequence[Gap]
    lags: Sequence[float]
    foreign: int = 0

    @property
    def missing(self) -> int:
        return sum(gap.slots for gap in self.gaps)

    @property
    def stored(self) -> int:
        return self.expected - self.missing


def grace(cron: Cron, now: datetime) -> timedelta:
    """How long after its slot an event may come: the worker's limit for the fetch, plus the way to MongoDB."""
    return timedelta(seconds=_limit(cron, cron.previous(now)))


def due(cron: Cron, now: datetime) -> datetime:
    """The newest slot whose event should be there."""
    return cron.previous(now - grace(cron, now))


def compare(cron: Cron, start: datetime, end: datetime, stored: Mapping[datetime, Stored]) -> Row:
    """Compare the slots from `start` to `end`, both included, with what is stored."""
    slots = list(cron.between(start - SECOND, end))
    found = [(slot, stored[slot]) for slot in slots if slot in stored]
    return Row(
        start,
        expected=len(slots),
        late=sum(_is_late(cron, slot, event.lag) for slot, event in found),
        bare=sum(not event.data for _, event in found),
        strays=len(stored) - len(found),
        gaps=_gaps(slots, stored),
        lags=array("d", sorted(event.lag for _, event in found if event.lag is not None)),
        foreign=sum(event.foreign for _, event in found),
    )


def cells(
    cron: Cron, start: datetime, now: datetime, beginning: datetime | None, stored: Mapping[datetime, Stored]
) -> list[Cell]:
    """The slots after `start`, up to now, each with its state. No slot was expected before the `beginning`."""
    newest = due(cron, now)
    found = []
    for slot in cron.between(start, now):
        if event := stored.get(slot):
            late = _is_late(cron, slot, event.lag)
            found.append(Cell(slot, "late" if late else "stored", *event))
        elif beginning is None or slot < beginning:
            found.append(Cell(slot, "before"))
        else:
            found.append(Cell(slot, "missing" if slot <= newest else "pending"))
    return found


def lacking(
    cron: Cron, start: datetime, end: datetime, stored: Container[datetime]
) -> tuple[datetime, datetime] | None:
    """The first and the last slot, from `start` to `end`, that is not stored. None if all are."""
    slots = [slot for slot in cron.between(start - SECOND, end) if slot not in stored]
    return (slots[0], slots[-1]) if slots else None


def of(cron: Cron, at: datetime) -> datetime | None:
    """The slot for which an event of this time counts if its id names no feed: one less than a second before it."""
    slot = cron.next(at - SECOND)
    return slot if slot <= at else None


def about(cron: Cron, start: datetime, end: datetime) -> int:
    """How many slots are after `start`, up to `end`: as many, or a few more, in a step for each hour that has some."""
    count, slot = 0, cron.next(start)
    while slot <= end:
        count += cron.most_in_an_hour
        slot = cron.next(start - (start - slot) // HOUR * HOUR)
    return count


def window(cron: Cron, most: int) -> timedelta:
    """A day, or the part of one that has room for `most` slots where the schedule is dense."""
    return min(DAY, HOUR * most / cron.most_in_an_hour)


def figures(cells: Sequence[Cell]) -> dict[str, int]:
    """How many are expected, stored (late ones included), late and missing. A pending slot is none of them."""
    states = Counter(cell.state for cell in cells)
    stored = states["stored"] + states["late"]
    missing = states["missing"]
    return {"expected": stored + missing, "stored": stored, "late": states["late"], "missing": missing}


def total(cron: Cron, rows: Sequence[Row]) -> Row:
    """The sum of one row or more that follow each other."""
    return Row(
        rows[0].start,
        expected=sum(row.expected for row in rows),
        late=sum(row.late for row in rows),
        bare=sum(row.bare for row in rows),
        strays=sum(row.strays for row in rows),
        gaps=_joined(cron, (gap for row in rows for gap in row.gaps)),
        lags=array("d", sorted(lag for row in rows for lag in row.lags)),
        foreign=sum(row.foreign for row in rows),
    )


def pieces(cron: Cron, start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Split the span, both ends included, into a piece for each row: ten minutes, an hour, a day or a week in UTC.

    A piece is as short as MAX_ROWS allows, and on average has room for two slots. The ends are whole seconds.
    """
    longest = ROW_SPANS[-1]
    interval = longest / max(about(cron, end - longest, end), 1)
    fit = (step for step in ROW_SPANS if end - start <= MAX_ROWS * step and 2 * interval <= step)
    step = next(fit, longest)
    while start <= end:
        following = MONDAY + ((start - MONDAY) // step + 1) * step
        yield start, min(following - SECOND, end)
        start = following


def percentile(ordered: Sequence[float], percent: float) -> float | None:
    """The percentile by the nearest rank, or None if there is no value."""
    return ordered[max(math.ceil(len(ordered) * percent / 100) - 1, 0)] if ordered else None


def named(gaps: Sequence[Gap], most: int) -> str:
    """The first `most` gaps, and how many slots the others have."""
    more = sum(gap.slots for gap in gaps[most:])
    return ", ".join(map(str, gaps[:most])) + (f" and {more} more" if more else "")


def _limit(cron: Cron, slot: datetime) -> float:
    return budget(cron, slot) + DELIVERY_SECONDS


def _is_late(cron: Cron, slot: datetime, lag: float | None) -> bool:
    # Most events are far from late, so the costly look at the schedule comes last.
    return lag is not None and lag > DELIVERY_SECONDS and lag > _limit(cron, slot)


def _gaps(slots: Sequence[datetime], stored: Container[datetime]) -> list[Gap]:
    runs = ((there, list(run)) for there, run in groupby(slots, stored.__contains__))
    return [Gap(run[0], run[-1], len(run)) for there, run in runs if not there]


def _joined(cron: Cron, gaps: Iterable[Gap]) -> list[Gap]:
    """The gaps. If no slot is between two of them, they become one."""
    joined: list[Gap] = []
    for gap in gaps:
        if joined and cron.next(joined[-1].last) == gap.first:
            before = joined.pop()
            joined.append(Gap(before.first, gap.last, before.slots + gap.slots))
        else:
            joined.append(gap)
    return joined
