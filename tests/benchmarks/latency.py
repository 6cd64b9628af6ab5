"""From published to stored, one event at a time, against the sum of its two parts in the same run.

The parts: one JetStream publish until it is acknowledged, and one majority insert.
"""

import asyncio
import os
import time
from contextlib import ExitStack
from typing import Any

import nats
from nats.js import JetStreamContext
from pymongo import AsyncMongoClient, WriteConcern

from api_stub.mongo import direct
from crypto_updates.local import guard, ports, programs
from crypto_updates.local.servers import Mongod, NatsServer
from stack import services
from tests.benchmarks.backlog import body, document, identity
from tests.benchmarks.quantile import p50, p99

Client = AsyncMongoClient[dict[str, Any]]
# The first ones, which wait for the start of the API stub and of all connections, do not count.
WARM_UP = 20
# Seconds of pause, so that each event goes alone; and until one is taken for lost.
PAUSE, PATIENCE = 0.01, 10.0


async def arrival(js: JetStreamContext, client: Client, number: int) -> float:
    """Seconds from before the publish until the event is found; looking for it takes a part of a millisecond."""
    begin = time.perf_counter()
    await js.publish("crypto.updates", body(number), headers={"Nats-Msg-Id": identity(number)})
    while not await client.crypto.events.find_one({"_id": identity(number)}, {"_id": 1}):
        if time.perf_counter() - begin > PATIENCE:
            raise TimeoutError(identity(number))
    return time.perf_counter() - begin


async def parts(js: JetStreamContext, client: Client, number: int) -> tuple[float, float]:
    """Seconds of a publish, on a subject of its own, and of an insert."""
    begin = time.perf_counter()
    await js.publish("bench.latency", body(number), headers={"Nats-Msg-Id": identity(number)})
    published = time.perf_counter()
    durable = client.bench.get_collection("latency", write_concern=WriteConcern(w="majority", j=True))
    await durable.insert_one(document(number))
    return published - begin, time.perf_counter() - published


async def compare(nats_url: str, mongo_url: str, events: int, replicas: int = 1) -> dict[str, float]:
    connection = await nats.connect(nats_url)
    js = connection.jetstream()
    await js.add_stream(name="BENCH", subjects=["bench.latency"], num_replicas=replicas)
    arrivals, publishes, inserts = [], [], []
    async with Client(mongo_url, directConnection=direct(mongo_url)) as client:
        for number in range(WARM_UP + events):
            arrivals.append(await arrival(js, client, number))
            await asyncio.sleep(PAUSE)
            publish, insert = await parts(js, client, number)
            publishes.append(publish)
            inserts.append(insert)
            await asyncio.sleep(PAUSE)
    await connection.close()
    both = [publish + insert for publish, insert in zip(publishes, inserts, strict=True)]
    each = {"e2e": arrivals, "parts": both, "publish": publishes, "insert": inserts}
    return {f"{name}_{q.__name__}": q(series[WARM_UP:]) for q in (p50, p99) for name, series in each.items()}


def measure(events: int) -> dict[str, float]:
    """Seconds."""
    with ExitStack() as closing:
        data = closing.enter_context(guard.folder())
        mongod, server = closing.enter_context(Mongod()), closing.enter_context(NatsServer())
        environ = os.environ | services.defaults(data) | {"LOG_LEVEL": "warning", "HTTP_PORT": str(ports.free())}
        environ |= {"MONGO_URL": mongod.url, "NATS_URL": server.url}
        services.provision(environ)
        stub = programs.start("api_stub", environ=environ, cwd=data)
        closing.callback(stub.stop)
        return asyncio.run(compare(server.url, mongod.url, events))
