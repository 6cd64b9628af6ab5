"""What the sources on the network have in common: they are asked for COINS in parts, and say which they do not give."""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from urllib.parse import quote

from crypto_updates.bus.event import Quote
from crypto_updates.service import errors
from worker.market.answer import named
from worker.market.client import Client
from worker.market.errors import MarketError, TemporaryMarketError, UnknownCoinsError

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
    coins_per_request: int
    past: "Source | None" = None
    names_unknown = True

    def __init__(self, client: Client, coins: tuple[str, ...]) -> None:
        self.then = "left out"
        self._client = client
        self._coins = coins
        self._unknown = _Told()
        self._odd = _Told()

    async def close(self) -> None:
        await self._client.close()

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:
        """As a market's."""
        found, problem = await self.ask(self._coins, slot, budget)
        if problem and not found:
            raise problem
        if problem:
            log.warning(
                "[MARKET] %s; %d of %d coins have quotes, the others are %s",
                *(problem, len(found), len(self._coins), self.then),
            )
        return tuple(found[coin] for coin in self._coins if coin in found)

    async def ask(
        self, coins: Sequence[str], slot: datetime, budget: float
    ) -> tuple[dict[str, Quote], MarketError | None]:
        """The quotes of these coins, and why there are no more. One request after the other, which spares the source.

        The error is a TemporaryMarketError if the source may give more later. A coin that the source does not know is
        no error as long as there are others.
        """
        found: dict[str, Quote] = {}
        odd: dict[str, str] = {}
        deadline = asyncio.get_running_loop().time() + budget
        try:
            async with asyncio.timeout_at(deadline):
                for ids in _parts(coins, self.coins_per_request):
                    part = await self._request(ids, slot, deadline)
                    odd |= self._tell(ids, part)
                    found |= {quote.coin: quote for quote in part.quotes if quote.coin in ids}
        except TimeoutError:
            return found, TemporaryMarketError(f"{self.title} gave no whole answer within {budget:g} s")
        except MarketError as error:
            return found, error
        except Exception as error:
            log.exception("[MARKET] %s's answer cannot be used", self.title)
            return found, MarketError(f"{self.title}'s answer cannot be used: {errors.text(error)}")
        if found:
            return found, None
        if odd:
            return found, MarketError(f"{self.title}'s quotes cannot be read: {_first(odd)}")
        return found, UnknownCoinsError(self._nothing(coins, slot))

    async def _request(self, coins: Sequence[str], slot: datetime, deadline: float) -> Part:
        """The quotes for `slot` of the coins in one request. Raises MarketError."""
        raise NotImplementedError

    def _nothing(self, asked: Sequence[str], slot: datetime) -> str:  # noqa: ARG002 - of the past there is more to say
        """What to say when the source answered, and has none of the coins."""
        return f"COINS: {self.title} knows none of {named(asked)}"

    def _tell(self, asked: Sequence[str], part: Part) -> dict[str, str]:
        """Warn of the coins that the answer does not give, of each once. Return those that cannot be read."""
        known = {quote.coin for quote in part.quotes}
        odd = {coin: problem for coin, problem in part.odd.items() if coin in asked}
        if new := self._odd.new(odd, known):
            problems = {coin: odd[coin] for coin in new}
            log.warning("[MARKET] %s's quote cannot be read and is %s: %s", self.title, self.then, _first(problems))
        unknown = [coin for coin in asked if coin not in known and coin not in odd]
        if self.names_unknown and (new := self._unknown.new(unknown, known)):
            log.warning("[MARKET] COINS: not known to %s and %s: %s", self.title, self.then, named(new))
        return odd


class _Told:
    """The coins that were warned of."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def new(self, bad: Iterable[str], good: Iterable[str]) -> list[str]:
        """Those of the bad coins that were not told since they were good, which are told now."""
        self._told.difference_update(good)
        new = [coin for coin in bad if coin not in self._told]
        self._told.update(new)
        return new


def _first(odd: Mapping[str, str]) -> str:
    """The coins, and what is wrong with the first one."""
    return f"{named(odd)}: {next(iter(odd.values()))}"


def _parts(coins: Sequence[str], most: int) -> Iterator[list[str]]:
    """The coins in lists that fit into a request each, by their number and by the length of the URL."""
    part: list[str] = []
    length = 0
    for coin in coins:
        characters = len(quote(coin, safe="")) + len(",coingecko:")
        if part and (len(part) == most or length + characters > MAX_IDS_CHARACTERS):
            yield part
            part, length = [], 0
        part.append(coin)
        length += characters
    yield part
