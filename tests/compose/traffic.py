"""Events that a test publishes itself, the slots of the worker, and which of them are stored."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.event import MSG_ID
from tests.compose.project import Project
from tests.support import eventually


async def publish(project: Project, feed: str, enough: asyncio.Event) -> set[str]:
    """Publish 100 events or more, one about every 20 ms, each until it is acknowledged; return their ids."""
    acknowledged: set[str] = set()
    variables = project.operator | {"DELIVERY": "jetstream"}
    if ca := variables.get("NATS_CA"):
        variables["NATS_CA"] = str(project.folder / ca)
    async with Bus(BusSettings.load(variables), "test") as bus:
        while not enough.is_set() or len(acknowledged) < 100:
            identity = f"{feed}@{len(acknowledged)}"
            await bus.publish(b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}', {MSG_ID: identity})
            acknowledged.add(identity)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(enough.wait(), 0.02)
    return acknowledged


def stored(project: Project, feed: str) -> set[str]:
    """Nothing while MongoDB does not answer."""
    with MongoClient[dict[str, str]](project.mongo_url) as mongo:
        try:
            return {event["_id"] for event in mongo.crypto.events.find({"_id": {"$regex": f"^{feed}@"}}, {"_id": 1})}
        except PyMongoError:
            return set()


def newest_slot(project: Project) -> float:
    """The newest slot stored, as a POSIX time."""
    slots = [datetime.fromisoformat(e["timestamp"]) for e in project.events() if e["_id"].startswith("crypto@")]
    return max(slots, default=datetime.fromtimestamp(0, UTC)).timestamp()


def flows(project: Project, within: float = 60) -> bool:
    """True if a slot of after this moment gets stored."""
    now = time.time()
    return eventually(lambda: newest_slot(project) > now, within)
