"""What the sources on the network have in common: they are asked for COINS in parts, and say which they do not give."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

from crypto_updates.bus.event import Quote
from worker.market.answer import named
from worker.market.client import Client
from worker.market.errors import MarketError, UnknownCoinsError

log = logging.getLogger(__name__)

# Servers take about 8,000 characters.
MAX_IDS_CHARACTERS = 6_000


class Part(NamedTuple):
    """What one answer has: the quotes, and the coins that cannot be read, each with what is wrong."""

    quotes: list[Quote]
    odd: dict[str, str]


class Source:
    """A source of quotes, with the protocol of a market. `then`: what becomes of the coins that it does not give."""

    name: str
    title: str
    knows_past: bool
    coins_per_request: int

    def __init__(self, client: Client, coins: tuple[str, ...]) -> None:
        self.then = "left out"
        self._client = client
        self._coins = coins
        self._unknown = _Told()
        self._odd = _Told()

    async def close(self) -> None:
        await self._client.close()

    async def fetch(self, slot: datetime, budget: float, coins: tuple[str, ...] | None = None) -> tuple[Quote, ...]:
        """As a market's, of these coins only. One request after the other, because sources limit those in a minute."""
        asked = self._coins if coins is None else coins
        found: dict[str, Quote] = {}
        problem = None
        deadline = asyncio.get_running_loop().time() + budget
        try:
            async with asyncio.timeout_at(deadline):
                for part in _parts(asked, self.coins_per_request):
                    quotes = await self._ask(part, slot, deadline)
                    found |= {quote.coin: quote for quote in quotes if quote.coin in part}
        except TimeoutError as error:
            problem = f"{self.title} gave no whole answer within {budget:g} s"
            if not found:
                raise MarketError(problem) from error
        except MarketError as error:
            problem = str(error)
            if not found:
                raise
        if not found:
            raise UnknownCoinsError(self._nothing(asked, slot))
        if problem:
            log.warning(
                "[MARKET] %s; %d of %d coins have quotes, the others are %s", problem, len(found), len(asked), self.then
            )
        return tuple(found[coin] for coin in asked if coin in found)

    async def _ask(self, coins: Sequence[str], slot: datetime, deadline: float) -> Iterable[Quote]:
        """The quotes for `slot` of the coins in one request. Raises MarketError."""
        raise NotImplementedError

    def _nothing(self, asked: Sequence[str], slot: datetime) -> str:  # noqa: ARG002 - of the past there is more to say
        """What to say when the source answered, and has none of the coins."""
        return f"COINS: {self.title} knows none of {named(asked)}"

    def _tell(self, asked: Sequence[str], part: Part) -> None:
        """Warn of the coins that the answer does not give, of each once."""
        known = {quote.coin for quote in part.quotes}
        odd = {coin: problem for coin, problem in part.odd.items() if coin in asked}
        if new := self._odd.new(odd, known):
            log.warning(
                "[MARKET] %s's quote cannot be read and is %s: %s: %s", self.title, self.then, named(new), odd[new[0]]
            )
        if new := self._unknown.new([coin for coin in asked if coin not in known and coin not in odd], known):
            log.warning("[MARKET] COINS: not known to %s and %s: %s", self.title, self.then, named(new))


class _Told:
    """The coins that were warned of."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def new(self, bad: Iterable[str] | Mapping[str, str], good: Iterable[str]) -> list[str]:
        """Those of the bad coins that were not told since they were good, which are told now."""
        self._told.difference_update(good)
        new = [coin for coin in bad if coin not in self._told]
        self._told.update(new)
        return new


def _parts(coins: Sequence[str], most: int) -> Iterator[list[str]]:
    """The coins in lists that fit into a request each, by their number and by the length of the URL."""
    part: list[str] = []
    length = 0
    for coin in coins:
        characters = len(quote(coin)) + len(",coingecko:")
        if part and (len(part) == most or length + characters > MAX_IDS_CHARACTERS):
            yield part
            part, length = [], 0
        part.append(coin)
        length += characters
    yield part
