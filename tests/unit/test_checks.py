"""What `verify` makes of what is stored."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

from crypto_updates.clock.cron import Cron
from crypto_updates.clock.slots import Stored
from stack.check import checks
from stack.check.target import Stack

EVERY_SECOND = Cron("* * * * * *")


class Complete:
    """Since 1970, it has each slot's event, and gives those from a time on, as MongoDB does."""

    async def beginning(self, *_: object) -> SimpleNamespace:
        return SimpleNamespace(at=datetime.fromtimestamp(0, UTC))

    async def stored(self, _: object, start: datetime, end: datetime) -> dict[datetime, Stored]:
        return {slot: Stored(0.1, data=True) for slot in [start, *EVERY_SECOND.between(start, end)]}


async def test_where_all_slots_are_stored_none_is_missing_at_any_time_of_a_second() -> None:
    database = SimpleNamespace(reader=Complete())
    settings = SimpleNamespace(feed="crypto", cron=EVERY_SECOND)
    told = await checks.no_slot_is_missing(cast(Stack, SimpleNamespace(settings=settings, mongo=lambda: database)))
    assert told.endswith(", all stored")
