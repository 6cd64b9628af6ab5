"""Two sources as one market."""

import asyncio
import logging
from datetime import datetime

import msgspec

from crypto_updates.bus.event import Quote
from worker.market.errors import MarketError, TemporaryMarketError, UnknownCoinsError, UnreachableSourceError
from worker.market.source import Source

log = logging.getLogger(__name__)

# While the other source may still answer, a source is asked for this time, and at most for half of the budget.
MAX_TURN_SECONDS, MAX_TURN_SHARE = 30.0, 0.5


class Fallback:
    """Asks the second source for the coins that the first one did not give. Each quote says its source.

    Only the second one knows the past.
    """

    def __init__(self, first: Source, second: Source, coins: tuple[str, ...]) -> None:
        self.name = first.name
        self.past = second.past
        self._sources = (first, second)
        self._coins = coins
        first.then = f"asked of {second.title}"

    async def close(self) -> None:
        for source in self._sources:
            await source.close()

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        """As a market's. The sources take turns until each coin has a price, or none may still answer in the budget.

        A source is asked again only after a temporary error, and not before the wait that it asked for has passed.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + budget
        turn = min(MAX_TURN_SECONDS, MAX_TURN_SHARE * budget)
        found: dict[str, Quote] = {}
        problems: dict[Source, MarketError | None] = {}
        # The sources that may still answer, and when to ask each.
        due = dict.fromkeys(self._sources, now())
        while (missing := self._missing(found)) and _is_any_reachable(due, problems):
            source = min(due, key=due.__getitem__)
            await asyncio.sleep(due.pop(source) - now())
            left = deadline - now()
            quotes, problem = await source.ask(missing, slot, min(turn, left) if due else left)
            for coin, quote in quotes.items():
                if quote.price or coin not in found:
                    found[coin] = msgspec.structs.replace(quote, source=source.name)
            problems[source] = problem
            if isinstance(problem, TemporaryMarketError):
                again = now() + (problem.retry_after or 0.0)
                due |= {source: again} if again < deadline else {}
        self._tell([problem for source in self._sources if (problem := problems.get(source))], len(found))
        return tuple(found[coin] for coin in self._coins if coin in found)

    def _missing(self, found: dict[str, Quote]) -> tuple[str, ...]:
        """The coins without a price."""
        return tuple(coin for coin in self._coins if coin not in found or not found[coin].price)

    def _tell(self, problems: list[MarketError], count: int) -> None:
        """Raises MarketError if there is no quote. The sources have told by themselves which coins they do not know."""
        failures = [problem for problem in problems if not isinstance(problem, UnknownCoinsError)]
        if not count:
            kind = MarketError if failures else UnknownCoinsError
            raise kind("; ".join(map(str, problems))) from problems[-1]
        if failures:
            log.warning("[MARKET] %s; %d of %d coins have data", "; ".join(map(str, failures)), count, len(self._coins))


def _is_any_reachable(due: dict[Source, float], problems: dict[Source, MarketError | None]) -> bool:
    """Without a network, an event must not wait for its whole budget only to go without data."""
    return any(not isinstance(problems.get(source), UnreachableSourceError) for source in due)
