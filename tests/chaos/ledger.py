"""What the servers hold, read past the links: the slots stored, the documents, the consumer's state."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.bus.stream import DURABLE, STREAM
from tests.chaos import client
from tests.chaos.checker import Consumer

FEED = "crypto"
OF_FEED = {"$gt": f"{FEED}@", "$lt": f"{FEED}A"}  # A follows @
EPOCH = datetime.fromtimestamp(0, UTC)


class Ledger:
    def __init__(self, nats_url: str, mongo_url: str, database: str = "crypto") -> None:
        self._nats_url = nats_url
        self._client = MongoClient[dict[str, Any]](mongo_url, directConnection=True, tz_aware=True, timeoutMS=10_000)
        self._database = self._client[database]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def slots(self, after: datetime = EPOCH) -> set[datetime]:
        """The worker's slots after this one that are stored; none where MongoDB does not answer."""
        try:
            where = {"_id": OF_FEED, "timestamp": {"$gt": after}}
            return {event["timestamp"] for event in self._database.events.find(where, {"timestamp": 1})}
        except PyMongoError:
            return set()

    def count(self, where: Mapping[str, Any] | None = None) -> int:
        """Events stored. Raises PyMongoError."""
        return self._database.events.count_documents(where or {})

    def events(self) -> list[dict[str, Any]]:
        return self._database.events.find().to_list()

    def dead_letters(self) -> list[dict[str, Any]]:
        return self._database.dead_letters.find().to_list()

    def checkpoint(self) -> None:
        """Have mongod write one, as it does each minute: killed more often than that, it would start ever more slowly,
        with all that it has to replay. Raises PyMongoError.
        """
        self._client.admin.command("fsync")

    def consumer(self) -> Consumer | None:
        """None where NATS does not answer, or has no such consumer."""
        try:
            return asyncio.run(self._consumer())
        except client.LINK_ERRORS:
            return None

    async def _consumer(self) -> Consumer:
        nc = await client.connect(self._nats_url)
        try:
            js = nc.jetstream(timeout=5)
            stream, consumer = await js.stream_info(STREAM), await js.consumer_info(STREAM, DURABLE)
        finally:
            await client.close(nc)
        floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
        return Consumer(consumer.num_pending or 0, consumer.num_ack_pending or 0, floor, stream.state.last_seq)
