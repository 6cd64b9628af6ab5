"""MongoDB's change stream of `events`: what is being stored, by whichever API stub."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from pymongo import timeout
from pymongo.asynchronous.change_stream import AsyncCollectionChangeStream
from pymongo.errors import OperationFailure

from api_stub.errors import HistoryLostError
from api_stub.store import Document, Events, available

STORED: list[dict[str, Any]] = [{"$match": {"operationType": "insert"}}, {"$project": {"fullDocument": 1}}]
# Events that the server gives at once, so that a flood of them costs no more than what is taken of it.
BATCH = 25
# Seconds that it waits for an event.
AWAIT = 0.1
TOKEN = re.compile(r"[0-9A-Fa-f]{2,2000}")


class Change(NamedTuple):
    """An event that was stored, and the token with which the stream resumes behind it."""

    token: str
    event: Document


class Changes:
    def __init__(self, events: Events) -> None:
        self._events = events

    @contextlib.asynccontextmanager
    async def opened(self, after: str | None) -> AsyncIterator[Stream]:
        """The stream from now on, or from behind a token.

        Raises HistoryLostError where the server cannot resume there, and StoreUnavailableError.
        """
        if after is not None and not TOKEN.fullmatch(after):
            raise HistoryLostError
        resume = {"_data": after} if after else None
        with available(), _resuming(after):
            stream = await self._events.watch(
                STORED, resume_after=resume, batch_size=BATCH, max_await_time_ms=int(AWAIT * 1000)
            )
            try:
                yield Stream(stream)
            finally:
                with contextlib.suppress(Exception), timeout(1):
                    await stream.close()


class Stream:
    def __init__(self, stream: AsyncCollectionChangeStream[dict[str, Any]]) -> None:
        self._stream = stream

    @property
    def token(self) -> str | None:
        """With which the stream resumes behind all that it has seen, be it no event."""
        token = self._stream.resume_token
        return token["_data"] if token else None

    async def next(self) -> Change | None:
        """The next change; None if none has come in time."""
        found = await self._stream.try_next()
        return Change(found["_id"]["_data"], found["fullDocument"]) if found else None


@contextlib.contextmanager
def _resuming(after: str | None) -> Iterator[None]:
    """A refusal, where there is a token, is taken to be the token's."""
    try:
        yield
    except OperationFailure as error:
        if after is None:
            raise
        raise HistoryLostError(str(error)) from error
