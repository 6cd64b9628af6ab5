"""How long a repair waits for what it has published."""

from datetime import UTC, datetime, timedelta
from typing import cast

from api_stub.errors import StoreUnavailableError
from api_stub.reader import Reader
from api_stub.retention import Beginning
from crypto_updates.clock.slots import Stored
from stack.check import repair
from stack.check.repair import RepairSettings

SLOTS = [datetime(2023, 11, 21, 14, minute, tzinfo=UTC) for minute in (0, 15, 30)]


class Kept:
    """It has the slots from one on, and no older ones."""

    def __init__(self, first: datetime) -> None:
        self._first = first

    async def beginning(self, *_: object) -> Beginning:
        return Beginning(self._first, timedelta(days=1), is_aged=True)

    async def stored(self, _settings: object, start: datetime, _end: datetime) -> dict[datetime, Stored]:
        return {start: Stored(1.0, data=True)} if start >= self._first else {}


class Away(Kept):
    async def beginning(self, *_: object) -> Beginning:
        raise StoreUnavailableError


async def test_it_does_not_wait_for_slots_that_went_by_their_age_meanwhile() -> None:
    assert await repair.absent(SLOTS, RepairSettings.load({}), cast(Reader, Kept(SLOTS[1]))) == 0


async def test_when_mongodb_is_away_all_are_waited_for() -> None:
    assert await repair.absent(SLOTS, RepairSettings.load({}), cast(Reader, Away(SLOTS[0]))) == len(SLOTS)
