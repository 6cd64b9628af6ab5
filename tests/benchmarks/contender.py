"""What the API stub's drain is measured against, each in a process of its own: limits, and peers.

    python -m tests.benchmarks.contender NAME NATS_URL MONGO_URL EVENTS

Prints the seconds from its first event to its last, and its seconds of CPU meanwhile. Each has its own consumer of the
stream, and its own collection with the indexes of `events`, and whoever stores, stores the same documents.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, Self

import nats
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig
from pydantic import AwareDatetime, BaseModel, ConfigDict
from pymongo import AsyncMongoClient, WriteConcern
from pymongo.asynchronous.collection import AsyncCollection

from api_stub.indexes import INDEXES
from tests.benchmarks.backlog import document

BATCH = 500
DURABLE = WriteConcern(w="majority", j=True)
Collection = AsyncCollection[dict[str, Any]]


class Spent(NamedTuple):
    """Seconds, and those of CPU."""

    seconds: float
    cpu: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.perf_counter(), time.process_time())

    def since(self) -> "Spent":
        now = self.now()
        return Spent(now.seconds - self.seconds, now.cpu - self.cpu)


Contender = Callable[[str, Collection, int], Awaitable[Spent]]


class Update(BaseModel):
    """What the API stub asks of an event."""

    model_config = ConfigDict(extra="allow")

    event: Literal["CRYPTO_UPDATE"]
    timestamp: AwareDatetime


async def insert_many(_: str, collection: Collection, events: int) -> Spent:
    """The limit: the same documents, from memory."""
    documents = [document(number) for number in range(events)]
    begin = Spent.now()
    for first in range(0, events, BATCH):
        await collection.insert_many(documents[first : first + BATCH], ordered=False)
    return begin.since()


async def receive(nats_url: str, _: Collection, events: int) -> Spent:
    """The other limit: a standing pull request, each event acknowledged and none stored."""
    client, done, got, begin = await nats.connect(nats_url), asyncio.Event(), 0, Spent.now()
    js, inbox = await consumer(client.jetstream(), "receive"), client.new_inbox()

    async def ask() -> None:
        request = json.dumps({"batch": BATCH, "expires": 30_000_000_000}).encode()
        await client.publish(f"$JS.API.CONSUMER.MSG.NEXT.CRYPTO.{js}", request, reply=inbox)

    async def take(message: Msg) -> None:
        nonlocal got, begin
        begin = begin if got else Spent.now()
        got += 1
        await message.ack()
        if got % BATCH == 0:
            await ask()
        if got == events:
            done.set()

    await client.subscribe(inbox, cb=take)
    for _ in range(2):
        await ask()
    await done.wait()
    spent = begin.since()
    await client.close()
    return spent


async def plain(nats_url: str, collection: Collection, events: int) -> Spent:
    """The loop that one writes first."""
    client = await nats.connect(nats_url)
    js = client.jetstream()
    subscription = await js.pull_subscribe_bind(await consumer(js, "plain"), "CRYPTO")
    begin = Spent.now()
    for _ in range(events):
        (message,) = await subscription.fetch(1)
        event = json.loads(message.data)
        event["timestamp"] = datetime.fromisoformat(event["timestamp"])
        await collection.insert_one(stored(event, message))
        await message.ack()
    spent = begin.since()
    await client.close()
    return spent


async def faststream(nats_url: str, collection: Collection, events: int) -> Spent:
    """FastStream's batch subscriber, which checks with pydantic what the API stub checks, and `insert_many`."""
    from faststream.nats import NatsBroker, PullSub  # noqa: PLC0415 - only this one needs it
    from faststream.nats.annotations import NatsMessage  # noqa: PLC0415

    broker, done, got, begin = NatsBroker(nats_url, logger=None), asyncio.Event(), 0, Spent.now()

    @broker.subscriber(
        "crypto.updates",
        stream="CRYPTO",
        durable="faststream",
        pull_sub=PullSub(batch_size=BATCH, batch=True),
        config=ConsumerConfig(max_ack_pending=20_000),
    )
    async def take(bodies: list[Update], message: NatsMessage) -> None:
        nonlocal got, begin
        begin = begin if got else Spent.now()
        pairs = zip(bodies, message.raw_message, strict=True)
        await collection.insert_many([stored(dict(one), raw) for one, raw in pairs], ordered=False)
        got += len(bodies)
        if got >= events:
            done.set()

    async with broker:
        await broker.start()
        await done.wait()
    return begin.since()


async def consumer(js: JetStreamContext, name: str) -> str:
    config = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, max_ack_pending=20_000)
    await js.add_consumer("CRYPTO", config)
    return name


def stored(event: dict[str, Any], message: Msg) -> dict[str, Any]:
    """The document that the API stub makes of it."""
    own = {"received_at": datetime.now(UTC), "stream_seq": message.metadata.sequence.stream}
    return {"_id": (message.headers or {})["Nats-Msg-Id"], **event, **own}


CONTENDERS: dict[str, Contender] = {
    "insert_many": insert_many,
    "receive": receive,
    "plain": plain,
    "faststream": faststream,
}


async def main(name: str, nats_url: str, mongo_url: str, events: int) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongo_url, directConnection=True) as client:
        collection = client.bench.get_collection(name, write_concern=DURABLE)
        # The indexes of `events`, since whoever stores for the API has them to keep.
        for keys in [keys for name, keys in INDEXES if name == "events"]:
            await collection.create_index(keys)
        print(*await CONTENDERS[name](nats_url, collection, events))  # noqa: T201 - the figure is its output


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], int(sys.argv[4])))
