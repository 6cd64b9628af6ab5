"""What the HTTP API reads of MongoDB, each time by an index and within a deadline."""

from __future__ import annotations

from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self

import msgspec
from pymongo import timeout

from api_stub import feed, query
from api_stub.errors import MissingError
from api_stub.query import Query
from api_stub.store import Events, available, connect
from crypto_updates.clock.slots import Stored

Document = dict[str, Any]

# Seconds for one operation.
DEADLINE = 5.0
# So many prices are in the deviation.
LAST = 100
# So many characters of a dead letter's body are shown.
SHOWN = 2000


def encode(content: object) -> bytes:
    """JSON of what is stored, which may have types of MongoDB's own if somebody else has stored it."""
    return msgspec.json.encode(content, enc_hook=str)


class Reader:
    def __init__(self, url: str, database: str) -> None:
        self._client = connect(url, DEADLINE)
        self.events: Events = self._client[database].events
        self._dead_letters = self._client[database].dead_letters

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with timeout(1):
            await self._client.close()

    async def ping(self) -> None:
        """A round trip within 2 s. Raises StoreUnavailableError, as all that follows."""
        with available(), timeout(2):
            await self._client.admin.command("ping")

    async def page(
        self, limit: int, cursor: str | None, since: datetime | None, until: datetime | None, coin: str | None
    ) -> tuple[list[Document], str | None]:
        """Events, newest first, and the cursor of the next page."""
        where: list[Query] = [query.span(since, until), query.quoting(coin) if coin else {}]
        where.append(query.after(cursor, "timestamp") if cursor else {})
        with available():
            found = await self.events.find({"$and": where}, sort=query.NEWEST_FIRST, limit=limit + 1).to_list()
        return _cut(found, limit, "timestamp")

    async def event(self, identity: str) -> Document:
        """Raises MissingError."""
        with available():
            found = await self.events.find_one({"_id": identity})
        if found is None:
            raise MissingError(f"no event {identity[:200]!r}")
        return found

    async def coins(self) -> list[str]:
        """All that were ever quoted, in order."""
        with available():
            # Without a condition it is read from the index alone, from coin to coin.
            found = await self.events.distinct("data.coin")
        # The coin of a foreign event may be anything.
        return sorted(coin for coin in found if isinstance(coin, str) and 0 < len(coin) <= query.LONGEST)

    async def quote(self, coin: str, now: datetime) -> Document:
        """The coin's newest quote that is not in the future. Raises MissingError."""
        with available():
            where = query.quoting(coin) | {"timestamp": {"$lte": now}}
            found = await self.events.find_one(where, {"data": 1}, sort=query.NEWEST_FIRST)
        if found is None:
            raise MissingError(f"no quote of coin {coin!r}")
        return next(quote for quote in found["data"] if isinstance(quote, dict) and quote.get("coin") == coin)

    async def deviation(self, coin: str, now: datetime) -> float:
        """Raises MissingError."""
        with available():
            found = await (await self.events.aggregate(query.deviation(coin, now, LAST))).to_list()
        if not found:
            raise MissingError(f"no price of coin {coin!r}")
        deviation: float = found[0]["deviation"]
        return deviation

    async def prices(self, coin: str, since: datetime, until: datetime, step: timedelta) -> list[Document]:
        with available():
            return await (await self.events.aggregate(query.prices(coin, since, until, step))).to_list()

    async def count_prices(self, coin: str, since: datetime, until: datetime, most: int) -> int:
        """How many events of the span quote the coin, counted up to `most`."""
        where = {"data.coin": coin} | query.span(since, until)
        with available():
            return await self.events.count_documents(where, limit=most)

    async def dead_letters(self, limit: int, cursor: str | None) -> tuple[list[Document], str | None]:
        """The newest first, `raw` as text, and the cursor of the next page."""
        where = query.after(cursor, "received_at") if cursor else {}
        with available():
            found = await (await self._dead_letters.aggregate(query.letters(where, limit + 1))).to_list()
        for letter in found:
            letter["raw"] = letter["raw"] and letter["raw"].decode(errors="replace")[:SHOWN]
        return _cut(found, limit, "received_at")

    async def newest_slot(self, now: datetime) -> datetime | None:
        """The newest slot that is stored, of any feed, and not in the future."""
        with available():
            found = await self.events.find_one({"timestamp": {"$lte": now}}, {"timestamp": 1}, sort=query.NEWEST_FIRST)
        return found["timestamp"] if found else None

    async def count_dead_letters(self) -> int:
        with available():
            return await self._dead_letters.count_documents({}, hint="_id_")

    async def beginning(self, name: str, now: datetime) -> datetime | None:
        with available():
            return await feed.beginning(self.events, name, now)

    async def newest(self, name: str, now: datetime) -> datetime | None:
        with available():
            return await feed.newest(self.events, name, now)

    async def stored(self, name: str, start: datetime, end: datetime) -> dict[datetime, Stored]:
        with available():
            return await feed.stored(self.events, name, start, end)

    async def counts(self) -> tuple[int, int]:
        """How many events there are, about, and how many dead letters."""
        with available(), timeout(2):
            events = await self.events.estimated_document_count()
            return events, await self._dead_letters.estimated_document_count()


def _cut(found: list[Document], limit: int, key: str) -> tuple[list[Document], str | None]:
    """A page, and the cursor of the next one if more was found."""
    return found[:limit], query.cursor(found[limit - 1], key) if len(found) > limit else None
