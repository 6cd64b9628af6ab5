"""What the servers hold, read past the links: the slots stored, the documents, the consumer's state, who leads."""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from nats.js import JetStreamContext
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from api_stub.mongo import direct
from crypto_updates.bus.stream import DURABLE, STREAM
from crypto_updates.local.replica_set import lacking
from tests.chaos import client
from tests.chaos.checker import Consumer

FEED = "crypto"
OF_FEED = {"$gt": f"{FEED}@", "$lt": f"{FEED}A"}  # A follows @
EPOCH = datetime.fromtimestamp(0, UTC)


class Ledger:
    """`nats_url` and `mongo_url` may name the servers of a cluster."""

    def __init__(self, nats_url: str, mongo_url: str, database: str = "crypto") -> None:
        self._nats_urls = nats_url.split(",")
        self._client = MongoClient[dict[str, Any]](
            mongo_url, directConnection=direct(mongo_url), tz_aware=True, timeoutMS=10_000
        )
        # A primary that was cut off still answers, with what it may have to take back.
        self._database = self._client.get_database(database, read_concern=ReadConcern("majority"))

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
        return client.ask(self._nats_urls, _consumer)

    def leader(self) -> str | None:
        """The name of the nats-server that leads the stream; None while there is none."""
        return client.ask(self._nats_urls, client.leader)

    def primary(self) -> str | None:
        """Host and port."""
        return ":".join(map(str, found)) if (found := self._client.primary) else None

    def whole(self) -> bool:
        """True if each member of both clusters has all that the others have."""
        try:
            return not lacking(self._client) and bool(client.ask(self._nats_urls, _whole))
        except PyMongoError:
            return False


async def _consumer(js: JetStreamContext) -> Consumer:
    stream, consumer = await js.stream_info(STREAM), await js.consumer_info(STREAM, DURABLE)
    floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
    return Consumer(consumer.num_pending or 0, consumer.num_ack_pending or 0, floor, stream.state.last_seq)


async def _whole(js: JetStreamContext) -> bool:
    infos = [await js.stream_info(STREAM), await js.consumer_info(STREAM, DURABLE)]
    clusters = [info.cluster for info in infos if info.cluster]
    return all(cluster.leader and all(peer.current for peer in cluster.replicas or ()) for cluster in clusters)
