"""Which slots a day of `python -m tests.day` has, and what its verdict finds."""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.chaos.checker import Consumer
from tests.day.date import Day, upcoming
from tests.day.verdict import COINS, OF_AUDIT, Evidence, identity, judge

TODAY = date(2026, 10, 25)  # itself a day of 25 hours in Berlin
DAYS = [upcoming(name, TODAY) for name in ("plain", "spring", "autumn")]
Change = Callable[[Evidence], Evidence]


@pytest.mark.parametrize(
    ("day", "begin", "slots", "local", "twos"),
    [
        (DAYS[0], "2026-10-26T00:00+00:00", 96, 96, 4),
        (DAYS[1], "2027-03-27T23:00+00:00", 96, 92, 0),
        (DAYS[2], "2027-10-30T22:00+00:00", 100, 100, 8),
    ],
)
def test_a_day_of_23_hours_has_92_slots_and_one_of_25_has_100(
    day: Day, begin: str, slots: int, local: int, twos: int
) -> None:
    hours = [slot.astimezone(ZoneInfo(day.zone)).hour for slot in day.slots if slot < day.end]
    assert day.begin.isoformat(timespec="minutes") == begin
    assert (len(day.slots), len(hours), hours.count(2)) == (slots, local, twos)


def evidence(day: Day) -> Evidence:
    """Of a day without a fault, with a slot before it and one after it."""
    quarter = timedelta(minutes=15)
    events = [event(slot) for slot in (day.begin - quarter, *day.slots, day.slots[-1] + quarter)]
    consumer = Consumer(0, 0, len(events), len(events))
    audit = {**dict.fromkeys(OF_AUDIT, 0), "lag_seconds": {"max": 39.6}}
    return Evidence(events, 0, consumer, audit, {"worker": 0, "api_stub": 0})


def event(slot: datetime) -> dict[str, Any]:
    quotes = [{"coin": coin, "price": 1.5, "updated_at": slot.isoformat()} for coin in COINS]
    return {"_id": identity(slot), "timestamp": slot, "data": quotes}


@pytest.mark.parametrize(
    ("day", "counts"),
    [
        (DAYS[0], "96 of 96 in 24 hours, 96 of 96 in the local day"),
        (DAYS[1], "96 of 96 in 24 hours, 92 of 92 in the local day"),
        (DAYS[2], "96 of 96 in 24 hours, 100 of 100 in the local day"),
    ],
)
def test_a_day_without_a_fault_has_all_its_slots(day: Day, counts: str) -> None:
    verdict = judge(day, evidence(day))
    assert verdict.faults == []
    assert str(verdict).endswith(f"{counts}; 40 s after the slot at most")


def changed(number: int, **fields: object) -> Change:
    def change(found: Evidence) -> Evidence:
        events = list(found.events)
        events[number] = {**events[number], **fields}
        return found._replace(events=events)

    return change


SLOT = "crypto@2026-10-26T00:15:00Z"
FAULTS: list[tuple[Change, str]] = [
    (lambda found: found._replace(events=[*found.events[:2], *found.events[3:]]), f"not stored with data: {SLOT}"),
    (changed(2, data=None), f"not stored with data: {SLOT}"),
    (changed(2, data=event(DAYS[0].begin)["data"]), f"not stored with data: {SLOT}"),
    (changed(2, timestamp=DAYS[0].begin), f"not stored with data: {SLOT}"),
    (lambda found: found._replace(events=[*found.events, event(DAYS[0].begin) | {"_id": "x"}]), "nobody's slot: x"),
    (lambda found: found._replace(dead_letters=2), "dead letters: 2"),
    (lambda found: found._replace(consumer=None), "stream: does not answer"),
    (lambda found: found._replace(consumer=Consumer(0, 0, 99, 99)), "stream: Consumer("),
    (lambda found: found._replace(audit={**found.audit, "missing": 3}), "audit: missing 3"),
    (lambda found: found._replace(stops={"worker": 0, "api_stub": -9}), "exit status: api_stub -9"),
]


@pytest.mark.parametrize(("change", "fault"), FAULTS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_fault_is_found(change: Change, fault: str) -> None:
    faults = judge(DAYS[0], change(evidence(DAYS[0]))).faults
    assert any(line.startswith(fault) for line in faults)
