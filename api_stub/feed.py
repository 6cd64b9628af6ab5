"""A feed as MongoDB has it: its first and its newest event, and what is stored of its slots."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from api_stub.store import Events
from crypto_updates.bus.event import identity
from crypto_updates.clock.slots import SECOND, Stored
from crypto_updates.clock.timetable import BY_HAND

EPOCH = datetime.fromtimestamp(0, UTC)
# Seconds from the slot to the event's arrival, computed by the server.
LAG = {"$divide": [{"$subtract": ["$received_at", "$timestamp"]}, 1000]}


async def newest(events: Events, feed: str, now: datetime) -> datetime | None:
    """The newest slot that is stored, and not in the future."""
    found = await events.find_one(between(feed, EPOCH, now), {"timestamp": 1}, sort=[("_id", -1)])
    return found["timestamp"] if found else None


async def beginning(events: Events, feed: str, now: datetime) -> datetime | None:
    """The first slot that counts: the slots before it were none of this feed's.

    One that was published by hand for a slot long past is no beginning, unless there is nothing else.
    """
    in_time = {"$expr": {"$lt": [LAG, BY_HAND / timedelta(seconds=1)]}}
    first = await events.find_one(between(feed, EPOCH, now) | in_time, {"timestamp": 1}, sort=[("_id", 1)])
    return first["timestamp"] if first else await newest(events, feed, now)


async def stored(events: Events, feed: str, start: datetime, end: datetime) -> dict[datetime, Stored]:
    """What is stored from `start` to `end`, both included; a slot whose event came in parts has the last one's lag."""
    fields = {"timestamp": 1, "lag": LAG, "data": {"$isArray": "$data"}}
    found: dict[datetime, Stored] = {}
    async for event in events.find(between(feed, start, end), fields):
        slot, lag, data = event["timestamp"], event["lag"], event["data"]
        if before := found.get(slot):
            lag = max((lag for lag in (lag, before.lag) if lag is not None), default=None)
            data = data or before.data
        found[slot] = Stored(lag, data)
    return found


def between(feed: str, start: datetime, end: datetime) -> dict[str, Any]:
    """A query for the feed's events from `start` to `end`, parts included: its ids are in the order of their slots."""
    ids = {"$gte": identity(feed, start), "$lt": identity(feed, end + SECOND)}
    return {"_id": ids, "timestamp": {"$type": "date"}}
