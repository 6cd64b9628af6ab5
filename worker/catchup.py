"""Slots that passed without a worker: which they are, and which of them to publish by MISSED_SLOTS."""

import logging
from collections.abc import Collection, Container, Sequence
from datetime import datetime, timedelta
from typing import Literal

from crypto_updates.bus.history import Published
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.slots import DELIVERY_SECONDS
from crypto_updates.clock.timetable import BY_HAND, interval
from worker.metrics import MISSED

log = logging.getLogger(__name__)

Policy = Literal["latest", "all", "none"]

# Beyond its duplicate_window, the stream no longer drops second copies.
LOOK_BACK = timedelta(days=7)
# On the way to the stream, a dense schedule's next slot may already have come.
DELIVERY = timedelta(seconds=DELIVERY_SECONDS)
# Bounds the slots that are looked at and those that are published; a week of `*/15` has fewer.
MAX_SLOTS = 1000


def follows(slot: datetime, last: datetime, cron: Cron) -> bool:
    """True when no slot lies between the two, and when the clock was set back."""
    return slot - last <= interval(cron, last)


def plan(
    cron: Cron,
    published: Sequence[Published],
    made: Collection[datetime],
    *,
    since: datetime | None,
    newest: datetime,
    policy: Policy,
) -> tuple[list[datetime], list[datetime]]:
    """The slots that were missed up to `newest`, and those to make now.

    `published` is what the stream has, and `made` what waits in the outbox. No slot up to `since` was missed, as far as
    this worker knows; None at the start. When neither tells, the oldest event in the outbox does.
    """
    known = [event.slot for event in published if is_in_time(event, cron, newest)] + ([since] if since else [])
    before = max(known, default=min(made, default=None))
    due = missed(cron, before, newest)
    # Without any event, this is the first start ever, and nothing was missed.
    return [slot for slot in due if before and slot not in made], chosen(due, made, policy)


def is_in_time(published: Published, cron: Cron, now: datetime) -> bool:
    """True when a worker published the event at its time.

    An event that was stored long after its slot, and after other slots too, was published by hand. It does not tell
    when a worker ran, and neither does an event of the future.
    """
    slot, stored, _ = published
    return slot <= now and (stored - slot < BY_HAND or cron.next(slot) > stored)


def is_prompt(published: Published, cron: Cron, now: datetime) -> bool:
    """True when the event was stored before the next slot, so that no event before it in the stream has a newer one.

    Before an event that came late, because it was repaired or waited for NATS, there may be newer slots.
    """
    slot, stored, _ = published
    return slot <= now and stored < cron.next(slot) + DELIVERY


def missed(cron: Cron, last: datetime | None, now: datetime) -> list[datetime]:
    """The slots after the last one, up to now. When there is none, only the newest slot counts."""
    newest = cron.previous(now)
    if last is None:
        return [newest]
    if last >= newest:
        return []
    # The schedule may be dense and the outage long, so start near now and go back in larger and larger steps.
    reach = min(MAX_SLOTS * (cron.next(newest) - newest), LOOK_BACK)
    while True:
        start = max(last, now - reach)
        slots = list(cron.between(start, now))
        if len(slots) >= MAX_SLOTS or start == last or reach == LOOK_BACK:
            return slots or [newest]
        reach = min(4 * reach, LOOK_BACK)


def chosen(due: Sequence[datetime], made: Container[datetime], policy: Policy) -> list[datetime]:
    """The slots to make, by the policy. Those in `made` have their events already."""
    wanted = {"latest": due[-1:], "all": due[-MAX_SLOTS:], "none": []}[policy]
    return [slot for slot in wanted if slot not in made]


def tell(slots: Sequence[datetime], policy: Policy, cron: Cron) -> None:
    """Log what was missed and what the worker does about it, with times in SCHEDULE_TZ."""
    if not slots:
        return
    MISSED.inc(len(slots))
    first, newest = slots[0].astimezone(cron.zone), slots[-1].astimezone(cron.zone)
    form = "%H:%M:%S" if first.date() == newest.date() else "%Y-%m-%d %H:%M:%S"
    log.warning(
        "[CRON] Missed schedules: %d slot%s from %s to %s; publishing %s (MISSED_SLOTS=%s)",
        *(len(slots), "" if len(slots) == 1 else "s", first.strftime(form), newest.strftime(form)),
        *("the latest" if policy == "latest" else policy, policy),
    )
