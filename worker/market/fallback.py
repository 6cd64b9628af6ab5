"""Two sources as one market."""

import asyncio
import logging
from datetime import UTC, datetime

import msgspec

from crypto_updates.bus.event import Quote
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import is_past
from worker.market.errors import MarketError, UnknownCoinsError, UnreachableSourceError
from worker.market.source import Source

log = logging.getLogger(__name__)

# So long the first source is asked, and at most for this share of the budget. Then the second one is, so that an event
# is not late when one of them fails, and has time left when the first one hangs.
FIRST_SECONDS, SHARE = 30.0, 0.5


class Fallback:
    """Asks the second source for the coins that the first one did not give. Each quote says its source.

    Only the second one knows the past, and so it alone is asked of a past slot.
    """

    knows_past = True

    def __init__(self, first: Source, second: Source, coins: tuple[str, ...], cron: Cron) -> None:
        self.name = first.name
        self._sources = (first, second)
        self._coins = coins
        self._cron = cron
        first.then = f"asked of {second.title}"

    async def close(self) -> None:
        for source in self._sources:
            await source.close()

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        """As a market's. If both sources fail, the first one is asked again, for as long as the budget lasts."""
        first, second = self._sources
        now = asyncio.get_running_loop().time
        deadline = now() + budget
        found: dict[str, Quote] = {}
        failure = None
        if not is_past(self._cron, slot, datetime.now(UTC)):
            failure = await self._ask(first, slot, min(FIRST_SECONDS, SHARE * budget), found)
        may_recover = failure and not isinstance(failure, UnknownCoinsError | UnreachableSourceError)
        other = await self._ask(second, slot, (deadline - now()) * (SHARE if may_recover else 1), found)
        if may_recover:
            failure = await self._ask(first, slot, deadline - now(), found) or failure
        self._tell([problem for problem in (failure, other) if problem], len(found))
        return tuple(found[coin] for coin in self._coins if coin in found)

    async def _ask(self, source: Source, slot: datetime, seconds: float, found: dict[str, Quote]) -> MarketError | None:
        """Add what the source gives of the coins that are not found yet. Return why it gave nothing."""
        missing = tuple(coin for coin in self._coins if coin not in found)
        if not missing:
            return None
        try:
            quotes = await source.fetch(slot, seconds, missing)
        except MarketError as error:
            return error
        found |= {quote.coin: msgspec.structs.replace(quote, source=source.name) for quote in quotes}
        return None

    def _tell(self, problems: list[MarketError], count: int) -> None:
        """Raises MarketError if there is no quote. The sources have told by themselves which coins they do not know."""
        failures = [problem for problem in problems if not isinstance(problem, UnknownCoinsError)]
        if not count:
            kind = MarketError if failures else UnknownCoinsError
            raise kind("; ".join(map(str, problems))) from problems[-1]
        if failures:
            log.warning("[MARKET] %s; %d of %d coins have data", "; ".join(map(str, failures)), count, len(self._coins))
