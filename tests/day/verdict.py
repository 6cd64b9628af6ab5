"""What a day has left in MongoDB and in the stream, beside what should be there. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from tests.chaos.checker import Consumer
from tests.chaos.ledger import FEED
from tests.day.date import DAY, QUARTER, Day

COINS = ["bitcoin", "ethereum", "polygon-ecosystem-token"]
# Figures of `audit` that have to be 0. A late event is none: a moment of a busy machine is minutes of the fast clock.
OF_AUDIT = ("missing", "without_data", "foreign", "at_no_slot")
MAX_SHOWN = 5


class Evidence(NamedTuple):
    """What was found when all had come to rest, also of the slots before and after the day.

    `audit`: what `crypto-updates audit --json` says. `stops`: the exit statuses after SIGTERM.
    """

    events: Sequence[Mapping[str, Any]]
    dead_letters: int
    consumer: Consumer | None
    audit: Mapping[str, Any]
    stops: Mapping[str, int]


class Verdict(NamedTuple):
    """`stored`: the day's slots that are stored with data. `latest`: at most so many seconds after the slot."""

    day: Day
    stored: Sequence[datetime]
    latest: float | None
    faults: Sequence[str]

    def __str__(self) -> str:
        day = self.day
        counts = f"{self._count(day.begin + DAY)} in 24 hours, {self._count(day.end)} in the local day"
        latest = f"; {self.latest:.0f} s after the slot at most" if self.latest is not None else ""
        line = f"{day.name:8}{day.begin.astimezone(ZoneInfo(day.zone)):%Y-%m-%d} {day.zone:15}{counts}{latest}"
        return "\n".join([line, *(f"  {fault}" for fault in self.faults)])

    def _count(self, end: datetime) -> str:
        stored, expected = (sum(slot < end for slot in slots) for slots in (self.stored, self.day.slots))
        return f"{stored} of {expected}"


def judge(day: Day, found: Evidence) -> Verdict:
    """Each slot is to be stored once, with prices of its own time, and nothing else."""
    slots = {identity(slot): slot for slot in day.slots}
    there = [event for event in found.events if day.slots[0] <= event["timestamp"] <= day.slots[-1]]
    stored = [slots[event["_id"]] for event in there if event["_id"] in slots and is_full(event)]
    faults = {
        "not stored with data": [identity(slot) for slot in day.slots if slot not in stored],
        "nobody's slot": [str(event["_id"]) for event in there if event["_id"] not in slots],
        "dead letters": [str(found.dead_letters)] * (found.dead_letters > 0),
        "exit status": [f"{name} {status}" for name, status in found.stops.items() if status],
        "audit": [f"{name} {found.audit[name]}" for name in OF_AUDIT if found.audit[name]],
        "stream": [*_stream(found)],
    }
    latest = found.audit["lag_seconds"]["max"]
    return Verdict(day, sorted(stored), latest, [_told(name, what) for name, what in faults.items() if what])


def identity(slot: datetime) -> str:
    return f"{FEED}@{slot:%Y-%m-%dT%H:%M:%SZ}"


def is_full(event: Mapping[str, Any]) -> bool:
    """True if its time is its slot's, and each coin has a price of that time."""
    quotes = event.get("data") or []
    return (
        identity(event["timestamp"]) == event["_id"]
        and sorted(quote["coin"] for quote in quotes) == COINS
        and all(quote["price"] for quote in quotes)
        and all(abs(datetime.fromisoformat(quote["updated_at"]) - event["timestamp"]) < QUARTER for quote in quotes)
    )


def _stream(found: Evidence) -> Iterator[str]:
    """A message of the stream without an event would be a loss, or a second copy."""
    if found.consumer is None:
        yield "does not answer"
    elif found.consumer != (rest := Consumer(0, 0, len(found.events), len(found.events))):
        yield f"{found.consumer}, and not {rest}"


def _told(name: str, what: Sequence[str]) -> str:
    more = f" and {len(what) - MAX_SHOWN} more" if len(what) > MAX_SHOWN else ""
    return f"{name}: {', '.join(what[:MAX_SHOWN])}{more}"
