"""Ten years of a worker's life under an injected clock: what is published is what the schedule says, to the slot.

The schedule, the slot job and the plan of the catch-up are the worker's; what it takes to fetch, keep and publish is
modelled here, and runs for real in tests/e2e and tests/chaos.
"""

import random
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import schedule

from crypto_updates.bus.history import Published
from crypto_updates.clock.cron import Cron
from worker import catchup
from worker.scheduler import SlotJob

START, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


class World:
    """A clock, a stream that keeps one event a slot, and a worker with its outbox, by the worker's own rules."""

    def __init__(self, cron: Cron, seed: int, held: int) -> None:
        """`held`: slots made while NATS is down; with the longest outage they stay within the look back of 7 days."""
        self.cron, self.random, self.held, self.now = cron, random.Random(seed), held, START
        self.stream: dict[datetime, datetime] = {}
        self.outbox: set[datetime] = set()
        self.nats = True
        self.copies = 0

    def start(self) -> None:
        self.pending = schedule.Scheduler()
        self.job = SlotJob(self.cron, self.hand, scheduler=self.pending, clock=lambda: self.now)
        self.gaps: list[datetime | None] = [None]
        self.last = self.cron.previous(self.now)
        self.deliver()

    def hand(self, slot: datetime) -> None:
        if not catchup.follows(slot, self.last, self.cron):
            self.gaps.append(self.last)
        self.last = slot
        self.outbox.add(slot)

    def deliver(self) -> None:
        if not self.nats:
            return
        if self.gaps:
            published = [Published(*pair) for pair in list(self.stream.items())[-20:]]
            _, wanted = catchup.plan(
                self.cron, published, self.outbox, since=self.gaps[0], newest=self.last, policy="all"
            )
            self.outbox.update(wanted)
            self.gaps.clear()
        for slot in sorted(self.outbox):
            self.copies += slot in self.stream
            self.stream.setdefault(slot, self.now)
        self.outbox.clear()

    def run(self, slots: int) -> None:
        for _ in range(slots):
            self.now = min(self.job.slot, END)
            self.pending.run_pending()
            self.deliver()

    def outage(self) -> None:
        length = self.random.random() ** 3 * 4 * DAY
        kind = self.random.choice(["down", "suspend", "nats", "nats and down", "clock back"])
        if "nats" in kind:
            self.nats = False
            self.run(self.random.randrange(self.held + 1))
        if kind == "clock back":
            self.now = max(self.now - min(length, HOUR), START)
            self.job.aim(self.now)
        else:
            self.now = min(self.now + length, END)
        if "down" in kind:
            self.start()
        if "nats" in kind:
            self.run(self.random.randrange(self.held + 1))
            self.nats = True
        self.pending.run_pending()
        self.deliver()


def decade(cron: Cron, *, between: int, held: int) -> tuple[World, int]:
    """`between`: slots from one outage to the next, on the average. The world, and its seed."""
    seed = random.randrange(10**6)
    world = World(cron, seed, held)
    world.start()
    while world.now < END:
        world.run(world.random.randrange(2 * between))
        world.outage()
    return world, seed


@pytest.mark.timeout(600)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe"])
def test_ten_years_of_quarters_with_random_outages_are_published_to_the_slot(zone: str) -> None:
    world, seed = decade(Cron("*/15 * * * *", zone), between=1500, held=50)
    expected = {START + n * QUARTER for n in range((END - START) // QUARTER + 1)}
    assert set(world.stream) == expected, f"seed {seed}"
    assert len(expected) == 350_689
    assert world.copies > 0


@pytest.mark.parametrize("zone", ["America/New_York", "Europe/Berlin", "Pacific/Auckland"])
def test_ten_years_of_days_have_each_day_once_leap_days_and_changes_of_the_clock_included(zone: str) -> None:
    world, seed = decade(Cron("30 12 * * *", zone), between=20, held=1)
    first = datetime(2019, 12, 30, 12, 30, tzinfo=ZoneInfo(zone))
    slots = [(first + n * DAY).astimezone(UTC) for n in range((END - START).days + 3)]
    before_the_start = max(slot for slot in slots if slot <= START)
    assert sorted(world.stream) == [slot for slot in slots if before_the_start <= slot <= END], f"seed {seed}"
