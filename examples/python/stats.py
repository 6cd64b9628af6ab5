import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar

from pymongo import AsyncMongoClient, UpdateOne
from pymongo.errors import PyMongoError

RETRY_SECONDS = 1.0
PRICES = 100

log = logging.getLogger("stats")
T = TypeVar("T")


class Stats:
    """The prices in MongoDB. What is to be written waits for MongoDB, however long that takes."""

    def __init__(self, url: str) -> None:
        self._client = AsyncMongoClient[dict[str, Any]](
            url, serverSelectionTimeoutMS=3000, socketTimeoutMS=15_000, tz_aware=True
        )
        self._prices = self._client.get_default_database("crypto").prices

    async def index(self) -> None:
        await self._retried(lambda: self._prices.create_index([("coin", 1), ("slot", -1)]))

    async def store(self, slot: datetime, quotes: list[dict[str, Any]]) -> None:
        """A second copy of the event has the same keys, and changes nothing."""
        writes = [
            UpdateOne(
                {"_id": f"{quote['coin']}@{slot.isoformat()}"}, {"$setOnInsert": {**quote, "slot": slot}}, upsert=True
            )
            for quote in quotes
        ]
        if writes:
            await self._retried(lambda: self._prices.bulk_write(writes, ordered=False))

    async def latest(self, coin: str) -> dict[str, Any] | None:
        return await self._prices.find_one({"coin": coin}, sort=[("slot", -1)])

    async def deviation(self, coin: str) -> float | None:
        """The population standard deviation of the coin's last 100 prices."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"coin": coin}},
            {"$sort": {"slot": -1}},
            {"$limit": PRICES},
            {"$group": {"_id": None, "deviation": {"$stdDevPop": "$price"}}},
        ]
        found = await (await self._prices.aggregate(pipeline)).to_list()
        return found[0]["deviation"] if found else None

    async def is_connected(self) -> bool:
        try:
            await self._client.admin.command("ping")
        except PyMongoError:
            return False
        return True

    async def close(self) -> None:
        await self._client.close()

    async def _retried(self, work: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await work()
            except PyMongoError as error:
                log.warning("[MONGO] %s; trying again", str(error) or type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
