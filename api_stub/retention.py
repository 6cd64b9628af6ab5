"""The age after which `events` go: MongoDB removes them by a TTL index of this name."""

import logging
from datetime import datetime, timedelta

import pymongo
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import OperationFailure, PyMongoError

from api_stub.mongo import UNAUTHORIZED, Document, brief
from crypto_updates.clock import span
from crypto_updates.clock.cron import SECOND

log = logging.getLogger(__name__)

# An index of another name is the owner's, and stays.
NAME = "max_event_age"
# Somebody else has just dropped it: https://www.mongodb.com/docs/manual/reference/error-codes/
INDEX_NOT_FOUND = 27
# Events go on expiring while they are read, and clocks differ. Younger ones are there for certain.
MARGIN = timedelta(minutes=2)


async def age(database: AsyncDatabase[Document]) -> timedelta | None:
    """After which age events go, None if they stay. Raises PyMongoError."""
    indexes = await (await database["events"].list_indexes()).to_list()
    found = next((index for index in indexes if index["name"] == NAME), None)
    return found["expireAfterSeconds"] * SECOND if found else None


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


def floor(age: timedelta, now: datetime) -> datetime:
    """The time before which events may have gone, in whole seconds."""
    return min(now - age + MARGIN, now).replace(microsecond=0)


def lack(found: timedelta | None, wanted: timedelta | None) -> str | None:
    """Say what MongoDB does against MAX_EVENT_AGE, and what to do."""
    if found == wanted:
        return None
    does = f"removes events {span.shown(found)} after their slot" if found else "keeps all events"
    asked = f"is {span.shown(wanted)}" if wanted else "is not set"
    return f"MongoDB {does}, and MAX_EVENT_AGE {asked}: run `crypto-updates provision`"
