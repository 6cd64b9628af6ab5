"""New events without a change stream, which only a replica set has: the newest documents, again and again."""

import asyncio
from collections import deque
from typing import Self

from api_stub.errors import StoreUnavailableError
from api_stub.mongo import Document, Events

WINDOW = 250


class Poll:
    """Used as a change stream is. MongoDB's natural order is nearly that of the inserts, and needs no index."""

    alive = True

    def __init__(self, events: Events, wait_ms: int) -> None:
        self._events = events
        self._wait_seconds = wait_ms / 1000
        self._known: set[str] = set()
        self._waiting: deque[object] = deque()

    @classmethod
    async def begin(cls, events: Events, wait_ms: int) -> Self:
        """Look every `wait_ms` for what is inserted from now on. Raises PyMongoError."""
        poll = cls(events, wait_ms)
        poll._known = {repr(key) for key in await poll._newest()}
        return poll

    async def try_next(self) -> Document | None:
        """The next insert, or None if there is none after the wait. Raises PyMongoError, StoreUnavailableError."""
        if not self._waiting:
            await asyncio.sleep(self._wait_seconds)
            self._look(await self._newest())
        while self._waiting:
            if document := await self._events.find_one({"_id": self._waiting.popleft()}):
                return {"fullDocument": document}
        return None

    async def close(self) -> None:
        self._waiting.clear()

    async def _newest(self) -> list[object]:
        """The ids of the newest documents. They may be anything, also what Python cannot hash."""
        found = await self._events.find({}, {"_id": 1}, sort=[("$natural", -1)], limit=WINDOW).to_list()
        return [document["_id"] for document in found]

    def _look(self, newest: list[object]) -> None:
        """Take what is unknown and stands before a known one.

        Behind those, a removal has made room for old documents. Raises StoreUnavailableError if there may be more.
        """
        names = [repr(key) for key in newest]
        known = [place for place, name in enumerate(names) if name in self._known]
        if self._known and not known and len(names) == WINDOW:
            raise StoreUnavailableError(f"MongoDB: {WINDOW} events or more within {self._wait_seconds:.1f} s")
        end = known[-1] if known else len(names)
        new = [key for key, name in zip(newest[:end], names, strict=False) if name not in self._known]
        self._waiting.extend(reversed(new))
        self._known = set(names)
