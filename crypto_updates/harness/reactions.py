"""The writes of the server under test, seen by a change stream over the whole mongod, whatever its database is."""

import threading
import time
from datetime import datetime
from typing import Any, NamedTuple, Self

import pymongo
from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.harness.seen import Seen
from crypto_updates.local.errors import StackError

_WRITES = ("insert", "update", "replace", "delete")
_OURS = ("admin", "config", "local")  # MongoDB's own databases
_PIPELINE = [{"$match": {"operationType": {"$in": _WRITES}, "ns.db": {"$nin": _OURS}}}]
# How long a call waits for news: as long as it takes to stop.
_WAIT_MS = 100
_AGAIN_SECONDS = 0.05
# For a mongod that hangs, not for a slow machine.
_OPEN_SECONDS = 60.0


class Reaction(NamedTuple):
    """A write. `document`: of an insert or a replace all of it, of an update the fields that it set, else empty.

    `seen_at` is by time.monotonic(), `written_at` by MongoDB's clock.
    """

    operation: str
    database: str
    collection: str
    key: Any
    document: dict[str, Any]
    written_at: datetime
    seen_at: float


class Reactions(Seen[Reaction]):
    """The writes since this is used in a `with` statement. None is missed while mongod is down, or frozen."""

    def __init__(self, url: str) -> None:
        super().__init__("reactions (writes to MongoDB)")
        self._client = MongoClient[dict[str, Any]](
            url, directConnection=True, tz_aware=True, serverSelectionTimeoutMS=1000, connect=False
        )
        self._token: dict[str, Any] | None = None
        self._after = Timestamp(0, 0)
        self._open, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="reactions", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._open.wait(_OPEN_SECONDS):
            self.__exit__()
            raise StackError(f"mongod gave no change stream within {_OPEN_SECONDS:.0f} s")
        return self

    def __exit__(self, *_: object) -> None:
        """The thread ends by itself, a moment later."""
        self._closed.set()
        self._client.close()

    def clear(self) -> None:
        """Forget what was written until now, also what is not seen yet. Raises PyMongoError."""
        with pymongo.timeout(_OPEN_SECONDS):  # a mongod that was started again is found a moment later
            now = self._client.admin.command("ping")["operationTime"]
        with self._news:
            self._after = now
            super().clear()

    def _keep(self) -> None:
        while not self._closed.is_set():
            try:
                self._watch()
            except PyMongoError:  # mongod is down, or was: go on where this ended
                self._closed.wait(_AGAIN_SECONDS)

    def _watch(self) -> None:
        with self._client.watch(_PIPELINE, max_await_time_ms=_WAIT_MS, resume_after=self._token) as stream:
            self._open.set()
            while not self._closed.is_set():
                self._token = dict(stream.resume_token or {}) or self._token
                if change := stream.try_next():
                    self._take(change["clusterTime"], _reaction(dict(change)))

    def _take(self, at: Timestamp, reaction: Reaction) -> None:
        with self._news:  # so that none comes in while they are forgotten
            if at > self._after:
                self.add(reaction)


def _reaction(change: dict[str, Any]) -> Reaction:
    document = change.get("fullDocument") or change.get("updateDescription", {}).get("updatedFields") or {}
    place, key = change["ns"], change["documentKey"]["_id"]
    return Reaction(
        change["operationType"], place["db"], place["coll"], key, document, change["wallTime"], time.monotonic()
    )
