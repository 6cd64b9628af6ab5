"""The indexes that the queries use: made where this user may, and known to be missing where it may not."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from api_stub import retention
from api_stub.errors import StoreUnavailableError
from api_stub.mongo import UNAUTHORIZED, Document, brief
from api_stub.query import LETTERS_FIRST, NEWEST_FIRST
from crypto_updates.service import lifecycle

log = logging.getLogger(__name__)

Keys = list[tuple[str, int]]
First = Callable[[], Awaitable[datetime | None]]
Listed = dict[str, Sequence[Mapping[str, Any]]]
# Anyone may have sent `data`, so `data.coin` may be anything.
INDEXES: tuple[tuple[str, Keys], ...] = (
    ("events", NEWEST_FIRST),
    ("events", [("data.coin", 1), *NEWEST_FIRST]),
    ("dead_letters", LETTERS_FIRST),
)
# An index with one of these does not serve every query.
PARTIAL = ("partialFilterExpression", "sparse", "hidden", "collation")
MAKE_AGAIN_SECONDS = 30.0


@contextlib.asynccontextmanager
async def kept(
    database: AsyncDatabase[Document], feed: str, first: First, age: timedelta | None
) -> AsyncIterator[None]:
    """Make the missing indexes in the background, and again when somebody drops them; once the one for the age.

    Before that, note the feed's first slot.
    """
    task = asyncio.create_task(_keep(database, feed, first, age), name="indexes")
    try:
        yield
    finally:
        await lifecycle.end(task)


async def listed(database: AsyncDatabase[Document], *names: str) -> Listed:
    """The indexes of these collections, or of all, without those where this user may not ask. Raises PyMongoError."""
    found: Listed = {}
    for name in names or dict(INDEXES):
        try:
            found[name] = await (await database[name].list_indexes()).to_list()
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
    return found


def missing(listed: Listed) -> list[str]:
    """Collection and fields of each missing index."""
    known = ((name, keys) for name, keys in INDEXES if name in listed)
    return [_named(name, keys) for name, keys in known if not any(_serves(index, keys) for index in listed[name])]


async def _keep(database: AsyncDatabase[Document], feed: str, first: First, age: timedelta | None) -> None:
    told, is_noted, is_settled = set[str](), False, False
    while True:
        can_ask = True
        try:
            is_noted = is_noted or await retention.note(database, feed, first)
        except (PyMongoError, StoreUnavailableError) as error:
            can_ask = False
            log.debug("[MONGO] The first slot is not noted: %s", brief(error))
        for name, keys in INDEXES:
            if (problem := await _make(database, name, keys)) and problem not in told:
                log.warning("[MONGO] No index of %s: %s", _named(name, keys), problem)
                told.add(problem)
        # Not before the first slot is noted. Only once: services with different values would otherwise take turns for
        # ever.
        is_settled = is_settled or (can_ask and await retention.settle(database, age))
        await asyncio.sleep(MAKE_AGAIN_SECONDS)


async def _make(database: AsyncDatabase[Document], name: str, keys: Keys) -> str | None:
    """Return what stands in the way, except for an outage, and a missing right: then the provisioner makes it."""
    try:
        with pymongo.timeout(None):  # a large collection takes its time
            await database[name].create_index(keys)
    except OperationFailure as error:
        return None if error.code == UNAUTHORIZED else brief(error)
    except PyMongoError as error:
        log.debug("[MONGO] Indexes: %s", brief(error))
    return None


def _serves(index: Mapping[str, Any], keys: Keys) -> bool:
    return list(index["key"].items()) == keys and not any(map(index.get, PARTIAL))


def _named(name: str, keys: Keys) -> str:
    return f"{name} on {', '.join(field for field, _ in keys)}"
