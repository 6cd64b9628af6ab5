"""What the HTTP API and the stack's checks read of MongoDB, each time by an index and within a deadline."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta

from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern

from api_stub import indexes, prices, query, retention
from api_stub.codec import CODEC, MILLISECOND
from api_stub.errors import MissingError
from api_stub.mongo import MONGO_SECONDS, UNAUTHORIZED, Document, Mongo, available
from api_stub.poll import Poll
from api_stub.retention import Beginning
from crypto_updates.bus.event import MAX_COIN_CHARACTERS
from crypto_updates.clock import slots
from crypto_updates.clock.cron import SECOND
from crypto_updates.clock.slots import Stored
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service import lifecycle

PRICES_IN_DEVIATION = 100
# A list shows this much of a dead letter's body.
MAX_SHOWN_CHARS = 2000
# How long MongoDB waits for an insert before it answers that there is none.
INSERT_WAIT_MS = 100
CLOSE_SECONDS = 1.0
# Of events that MongoDB sends at once, but 16 MB at most.
EXPORTED_AT_ONCE = 500

# No replica set, no right to, or a server that is compatible with MongoDB but has no change streams:
# https://www.mongodb.com/docs/manual/reference/error-codes/
NO_CHANGE_STREAM = {UNAUTHORIZED, 59, 115, 136, 238, 303, 40573}
NO_REPLICA_SET = (
    "MongoDB is not a replica set, so the driver repeats no write and the API stub looks for new events itself:"
    " start mongod with --replSet, and run `crypto-updates provision`"
)
NO_RIGHT = (
    "the user may not open a change stream, so the API stub looks for new events itself: give it the right changeStream"
)
NO_INDEX = "MongoDB lacks the index of %s, so queries are slow: run `crypto-updates provision`"

Inserts = AsyncChangeStream[Document] | Poll


class Reader(Mongo):
    """Every method raises StoreUnavailableError."""

    def __init__(self, url: str, database: str, seconds: float = MONGO_SECONDS, *, settled: bool = False) -> None:
        """`settled`: read only what no election of the replica set can take back."""
        super().__init__(url, database, seconds)
        concern = ReadConcern("majority") if settled else None
        self._events = self.database.get_collection("events", CODEC, read_concern=concern)
        self._dead_letters = self.database.get_collection("dead_letters", CODEC, read_concern=concern)
        self._may_watch = True

    async def page(self, limit: int, where: list[Document]) -> tuple[list[Document], str | None]:
        """The events that all conditions hold for, newest first, and the cursor of the next page."""
        with available():
            found = await self._events.find({"$and": where}, sort=query.NEWEST_FIRST, limit=limit + 1).to_list()
        return _cut(found, limit, "timestamp")

    async def event(self, identity: str) -> Document:
        """Raises MissingError."""
        with available():
            found = await self._events.find_one(query.named(identity))
        if found is None:
            raise MissingError(f"no event {identity[:200]!r}")
        return found

    async def export(self, where: list[Document]) -> AsyncIterator[Document]:
        """The events that all conditions hold for, the oldest first, with a few of them in memory."""
        with available():
            async for event in self._events.find({"$and": where}, sort=query.OLDEST_FIRST, batch_size=EXPORTED_AT_ONCE):
                yield event

    @contextlib.asynccontextmanager
    async def inserts(self, batch: int) -> AsyncIterator[Inserts]:
        """What any API stub stores in `events` from now on. MongoDB sends up to `batch` of them at once."""
        with available():
            stream = await self._watch(batch)
            try:
                yield stream
            finally:
                with contextlib.suppress(Exception):
                    async with asyncio.timeout(lifecycle.left(CLOSE_SECONDS)):
                        await stream.close()

    async def _watch(self, batch: int) -> Inserts:
        """A change stream, or what looks for new events where MongoDB has none."""
        stages: query.Stages = [{"$match": {"operationType": "insert"}}, {"$project": {"fullDocument": 1}}]
        try:
            stream = await self._events.watch(stages, batch_size=batch, max_await_time_ms=INSERT_WAIT_MS)
        except OperationFailure as error:
            if error.code not in NO_CHANGE_STREAM:
                raise
            self._may_watch = error.code != UNAUTHORIZED
            return await Poll.begin(self._events, INSERT_WAIT_MS)
        self._may_watch = True
        return stream

    async def lacks(self, max_event_age: timedelta | None, least_age: timedelta) -> list[str]:
        """What works less well than it should, or is not as MAX_EVENT_AGE says, and what to do."""
        with available():
            hello = await self._client.admin.command("hello")
            listed = await indexes.listed(self.database)
        # A router of a sharded cluster says `msg`.
        found = [] if "setName" in hello or "msg" in hello else [NO_REPLICA_SET]
        if not self._may_watch:
            found.append(NO_RIGHT)
        if missing := indexes.missing(listed):
            found.append(NO_INDEX % " and ".join(missing))
        age = retention.by(listed["events"]) if "events" in listed else max_event_age
        return [*found, *filter(None, [retention.lack(age, max_event_age, least_age)])]

    async def _age(self) -> timedelta | None:
        """After which age events go. None if they stay, or this user may not ask."""
        with available():
            listed = await indexes.listed(self.database, "events")
        return retention.by(listed.get("events", ()))

    async def coins(self) -> list[str]:
        """Every coin that was ever quoted, in order."""
        with available():
            # Without a condition, MongoDB reads the coins from the index alone, from coin to coin.
            found = await self._events.distinct("data.coin")
        # The coin of somebody else's event may be anything.
        return sorted(coin for coin in found if isinstance(coin, str) and 0 < len(coin) <= MAX_COIN_CHARACTERS)

    async def quote(self, coin: str, now: datetime) -> Document:
        """The coin's newest quote that is not in the future. Raises MissingError."""
        with available():
            where = query.quoting(coin) | {"timestamp": {"$lte": now}}
            found = await self._events.find_one(where, {"data": 1}, sort=query.NEWEST_FIRST)
        if found is None:
            raise MissingError(f"no quote of coin {coin!r}")
        quotes = (quote for quote in found["data"] if isinstance(quote, dict) and quote.get("coin") == coin)
        return next(quotes, {})

    async def deviation(self, coin: str, now: datetime) -> float:
        """Raises MissingError."""
        stages = query.deviation(coin, now, PRICES_IN_DEVIATION)
        with available():
            found = await (await self._events.aggregate(stages)).to_list()
        if not found:
            raise MissingError(f"no price of coin {coin!r}")
        return float(found[0]["deviation"])

    async def prices(
        self, coin: str, since: datetime, until: datetime, points: int
    ) -> tuple[list[Document], timedelta]:
        """The prices of the span, oldest first: all of them and a step of 0, or the newest one of each step."""
        with available():
            return await prices.read(self._events, coin, since, until, points)

    async def dead_letters(self, limit: int, cursor: str | None) -> tuple[list[Document], str | None]:
        """The newest first, `raw` as text, and the cursor of the next page."""
        where = query.after(cursor, "received_at") if cursor else {}
        with available():
            found = await (await self._dead_letters.aggregate(query.letters(where, limit + 1))).to_list()
        for letter in found:
            if isinstance(letter.get("raw"), bytes):
                letter["raw"] = letter["raw"].decode(errors="replace")[:MAX_SHOWN_CHARS]
        return _cut(found, limit, "received_at")

    async def count_dead_letters(self, since: datetime) -> int:
        with available():
            return await self._dead_letters.count_documents({"received_at": {"$gte": since}})

    async def counts(self) -> Document:
        """The number of `events`, estimated, and of `dead_letters`."""
        with available():
            events = await self._events.estimated_document_count()
            return {"events": events, "dead_letters": await self._dead_letters.count_documents({}, hint="_id_")}

    async def newest(self, timetable: Timetable, now: datetime) -> datetime | None:
        """The newest slot that is stored and not in the future, also if only a foreign event has it."""
        with available():
            where = query.slots(timetable.feed, query.EPOCH, now)
            found = await self._events.find_one(where, {"timestamp": 1}, sort=[("_id", -1)])
        own = found["timestamp"] if found else None
        return await self._search(timetable, own + SECOND if own else query.EPOCH, now, -1) or own

    async def beginning(self, timetable: Timetable, now: datetime) -> Beginning:
        """Slots before the first one were never expected. Where events go by their age, older slots do not count.

        A slot long past that somebody published by hand is no beginning, unless there is nothing else.
        """
        first, age = await self.first(timetable, now), await self._age()
        if age is None:
            return Beginning(first or await self.newest(timetable, now))
        with available():
            noted = await retention.noted(self.database, timetable.feed)
            # A command does not go by the client's options, which are for times with an offset.
            hello = await self._client.admin.command("hello", codec_options=CODEC)
        first = min(filter(None, (first, noted)), default=None) or await self.newest(timetable, now)
        return retention.beginning(first, age, hello.get("localTime", now))

    async def first(self, timetable: Timetable, now: datetime) -> datetime | None:
        """The first slot whose event is kept and came in time, also if only a foreign event has it."""
        with available():
            found = await self._events.find_one(query.in_time(timetable.feed, now), {"timestamp": 1}, sort=[("_id", 1)])
        own = found["timestamp"] if found else None
        return await self._search(timetable, query.EPOCH, own - MILLISECOND if own else now, 1) or own

    async def _search(self, timetable: Timetable, start: datetime, end: datetime, order: int) -> datetime | None:
        """The first slot of a foreign event from `start` to `end`, or with -1 the last one."""
        cron = timetable.cron
        with available():
            async for event in await self._events.aggregate(query.search(start, end, order)):
                if slot := slots.of(cron, event["timestamp"]):
                    return slot
        return None

    async def stored(self, timetable: Timetable, start: datetime, end: datetime) -> dict[datetime, Stored]:
        """The slots from `start` to `end`, both included, that have an event: one of the feed, or else a foreign one.

        A slot in parts has the lag of its last part.
        """
        fields = {"timestamp": 1, "lag": query.LAG_SECONDS, "data": {"$isArray": "$data"}}
        own, foreign = dict[datetime, Stored](), dict[datetime, Stored]()
        with available():
            async for event in self._events.find(query.slots(timetable.feed, start, end), fields):
                _add(own, event["timestamp"], Stored(event["lag"], event["data"]))
            # In a thread, because a day has up to 86,400 slots.
            lacking = await asyncio.to_thread(slots.lacking, timetable.cron, start, end, own)
            if lacking is None:
                return own
            where = query.foreign(lacking[0], lacking[1] + SECOND)
            async for event in self._events.find(where, fields, sort=query.NEWEST_FIRST):
                slot = slots.of(timetable.cron, at := event["timestamp"])
                if slot and start <= slot <= end:
                    lag = event["lag"] and event["lag"] + (at - slot) / SECOND
                    _add(foreign, slot, Stored(lag, event["data"], foreign=True))
        return foreign | own


def _add(found: dict[datetime, Stored], slot: datetime, event: Stored) -> None:
    if before := found.get(slot):
        lag = max((lag for lag in (event.lag, before.lag) if lag is not None), default=None)
        event = event._replace(lag=lag, data=event.data or before.data)
    found[slot] = event


def _cut(found: list[Document], limit: int, key: str) -> tuple[list[Document], str | None]:
    """The page, and the cursor of the next page if more was found."""
    return found[:limit], query.cursor(found[limit - 1], key) if len(found) > limit else None
