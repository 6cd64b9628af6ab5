"""Slots that passed without a worker: which they are, and which of them MISSED_SLOTS has published."""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Sequence
from datetime import datetime, timedelta
from typing import Literal

from crypto_updates.bus.history import Published
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import BY_HAND
from worker.metrics import MISSED

log = logging.getLogger(__name__)

Policy = Literal["latest", "all", "none"]

# Farther back the stream no longer drops second copies (its duplicate_window).
HORIZON = timedelta(days=7)
# About so many slots are looked at, and so many published, which is more than a week of `*/15`.
MOST = 1000

DECISIONS = {"latest": "publishing the latest", "all": "publishing all", "none": "publishing none"}


def plan(
    cron: Cron,
    published: Sequence[Published],
    made: Collection[datetime],
    *,
    first: datetime | None,
    newest: datetime,
    policy: Policy,
) -> tuple[list[datetime], list[datetime]]:
    """The slots that were missed up to `newest`, and those that are to be made.

    `published` is what the stream has, `made` what waits in the outbox, and `first` the first slot that the scheduler
    was too late for, which count where the stream does not tell.
    """
    first = first or min(made, default=None)
    before = last(published, cron, newest) or (first and first - datetime.resolution)
    due = missed(cron, before, newest)
    # Without any event, this is the first start ever, and nothing was missed.
    return [slot for slot in due if before and slot not in made], chosen(due, made, policy)


def is_in_time(published: Published, cron: Cron, now: datetime) -> bool:
    """True for an event that was published at its time.

    One that was stored long after it, and with other slots in between, was published by hand: that tells nothing of
    when a worker ran. Nor does one in the future.
    """
    slot, stored = published
    return slot <= now and (stored - slot < BY_HAND or cron.next(slot) > stored)


def last(published: Sequence[Published], cron: Cron, now: datetime) -> datetime | None:
    """The newest slot that was published in its time, or None."""
    return max((event.slot for event in published if is_in_time(event, cron, now)), default=None)


def missed(cron: Cron, last: datetime | None, now: datetime) -> list[datetime]:
    """The slots after the last published one, up to now. Before the first event ever, only the newest slot counts."""
    newest = cron.previous(now)
    if last is None:
        return [newest]
    if last >= newest:
        return []
    # Back from now, because the schedule may be dense and the outage long.
    reach = min(MOST * (cron.next(newest) - newest), HORIZON)
    while True:
        start = max(last, now - reach)
        slots = list(cron.between(start, now))
        if len(slots) >= MOST or start == last or reach == HORIZON:
            return slots or [newest]
        reach = min(4 * reach, HORIZON)


def chosen(due: Sequence[datetime], made: Container[datetime], policy: Policy) -> list[datetime]:
    """Those of the slots due that are to be made; the events of the ones in `made` are there already."""
    wanted = {"latest": due[-1:], "all": due[-MOST:], "none": []}[policy]
    return [slot for slot in wanted if slot not in made]


def tell(slots: Sequence[datetime], policy: Policy, cron: Cron) -> None:
    """Say what was missed and what becomes of it; times are those of SCHEDULE_TZ."""
    if not slots:
        return
    MISSED.inc(len(slots))
    first, newest = slots[0].astimezone(cron.zone), slots[-1].astimezone(cron.zone)
    form = "%H:%M:%S" if first.date() == newest.date() else "%Y-%m-%d %H:%M:%S"
    log.warning(
        "[CRON] Missed schedules: %d slot%s from %s to %s; %s (MISSED_SLOTS=%s)",
        *(len(slots), "" if len(slots) == 1 else "s", first.strftime(form), newest.strftime(form)),
        *(DECISIONS[policy], policy),
    )
