"""The age after which `events` go, by a TTL index of MongoDB, and what is still known of a feed afterwards."""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pymongo
from pymongo import WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError

from api_stub.errors import StoreRefusedError
from api_stub.mongo import UNAUTHORIZED, Document, brief
from crypto_updates.clock import slots, span
from crypto_updates.clock.cron import SECOND, Cron

log = logging.getLogger(__name__)

# An index of another name is the owner's, and stays.
NAME = "max_event_age"
# Somebody else has just dropped it: https://www.mongodb.com/docs/manual/reference/error-codes/
INDEX_NOT_FOUND = 27
# Events go on expiring while they are read, and clocks differ. Younger ones are there for certain.
MARGIN = timedelta(minutes=2)
MINUTE = timedelta(minutes=1)
# The first slot of each feed that an API stub is for, because that slot's event may go.
FEEDS = "feeds"


class Beginning(NamedTuple):
    """No slot before `at` counts. With `is_aged`, that is because its event may have gone by its `age`.

    Otherwise `at` is the feed's first slot, or None if there is none yet.
    """

    at: datetime | None
    age: timedelta | None = None
    is_aged: bool = False


async def age(database: AsyncDatabase[Document]) -> timedelta | None:
    """After which age events go, None if they stay. Raises PyMongoError."""
    return by(await (await database["events"].list_indexes()).to_list())


def by(indexes: Iterable[Mapping[str, Any]]) -> timedelta | None:
    """The age that is among the indexes of `events`."""
    found = next((index for index in indexes if index["name"] == NAME), {})
    seconds = found.get("expireAfterSeconds")  # somebody may have made an index of this name that removes nothing
    return None if seconds is None else seconds * SECOND


async def apply(database: AsyncDatabase[Document], wanted: timedelta | None) -> None:
    """Make, change or remove the index. Raises PyMongoError."""
    events, found = database["events"], await age(database)
    if found == wanted:
        return
    with pymongo.timeout(None):  # a large collection takes its time
        if wanted is None:
            await events.drop_index(NAME)
        elif found is None:
            keys, seconds = [("timestamp", pymongo.ASCENDING)], wanted // SECOND
            await events.create_index(keys, name=NAME, expireAfterSeconds=seconds)
        else:
            await database.command("collMod", "events", index={"name": NAME, "expireAfterSeconds": wanted // SECOND})
    if wanted:
        log.info("[MONGO] Events go %s after their slot (MAX_EVENT_AGE)", span.shown(wanted))
    else:
        log.info("[MONGO] No event goes any more (MAX_EVENT_AGE is not set)")


async def settle(database: AsyncDatabase[Document], wanted: timedelta | None) -> bool:
    """The same where this user may. Return False if MongoDB could not be asked, so that another try may help."""
    try:
        await apply(database, wanted)
    except OperationFailure as error:
        if error.code not in {UNAUTHORIZED, INDEX_NOT_FOUND}:
            log.warning("[MONGO] MAX_EVENT_AGE has no effect: %s", brief(error))
    except PyMongoError as error:
        log.debug("[MONGO] MAX_EVENT_AGE: %s", brief(error))
        return False
    return True


async def note(database: AsyncDatabase[Document], feed: str, first: Callable[[], Awaitable[datetime | None]]) -> bool:
    """Note the feed's first slot. Return False if there is none yet. Raises PyMongoError and StoreUnavailableError."""
    feeds = database.get_collection(FEEDS, write_concern=WriteConcern(w="majority", j=True))
    try:
        if (slot := await first()) is None:
            return False
        await feeds.insert_one({"_id": feed, "first": slot})
    except DuplicateKeyError:
        return True
    except (OperationFailure, StoreRefusedError) as error:
        cause = error.__cause__ if isinstance(error, StoreRefusedError) else error
        if not isinstance(cause, OperationFailure) or cause.code != UNAUTHORIZED:
            raise
        # Where this user may not, a feed begins at its first event that is kept.
        log.debug("[MONGO] The first slot is not noted: %s", brief(error))
    return True


async def noted(database: AsyncDatabase[Document], feed: str) -> datetime | None:
    """The feed's first slot if it was noted, and this user may ask. Raises PyMongoError."""
    try:
        found = await database[FEEDS].find_one({"_id": feed})
    except OperationFailure as error:
        if error.code == UNAUTHORIZED:
            return None
        raise
    return found["first"] if found else None


def beginning(first: datetime | None, age: timedelta, now: datetime) -> Beginning:
    """Where a feed begins whose events go at this age. `now` is by MongoDB's clock, by which it removes them."""
    # In whole seconds, as slots are.
    floor = min(now - age + MARGIN, now).replace(microsecond=0)
    return Beginning(first and max(first, floor), age, is_aged=bool(first and first < floor))


def least(cron: Cron, now: datetime) -> timedelta:
    """The age with which there is, at each time, a slot that is kept and whose event should be there."""
    due = slots.due(cron, now)
    # After a pause, as of a weekend, the slots before it have all been judged.
    interval = min(due - cron.previous(due - SECOND), cron.next(due) - due)
    return -(-(MARGIN + slots.grace(cron, now) + interval) // MINUTE) * MINUTE


def lack(found: timedelta | None, wanted: timedelta | None, least: timedelta) -> str | None:
    """Say what MongoDB does against MAX_EVENT_AGE, or that its age is too short, and what to do."""
    if found == wanted:
        if found is None or found >= least:
            return None
        short = f"events go {span.shown(found)} after their slot, before it is seen whether one is missing"
        return f"{short}: with this SCHEDULE, set MAX_EVENT_AGE to {span.shown(least)} or more"
    does = f"removes events {span.shown(found)} after their slot" if found else "keeps all events"
    asked = f"is {span.shown(wanted)}" if wanted else "is not set"
    return f"MongoDB {does}, and MAX_EVENT_AGE {asked}: run `crypto-updates provision`"
