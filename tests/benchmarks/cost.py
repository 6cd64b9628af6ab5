"""What the event of one slot costs, by its coins: seconds, and bytes in the stream, in MongoDB and in its indexes."""

import asyncio
import time
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psutil
from pymongo import MongoClient

from crypto_updates.bus.client import Bus
from crypto_updates.bus.event import encode
from crypto_updates.bus.stream import STREAM
from crypto_updates.local import ports, programs
from tests.benchmarks.backlog import FIRST
from tests.benchmarks.drain import Rig
from tests.benchmarks.quantile import p50
from worker import tick
from worker.config import WorkerSettings
from worker.market.simulated import Simulated

# Of how many slots the cost of one is measured, by its coins.
SLOTS = {10: 5_000, 1_000: 200, 100_000: 4}
QUARTER = timedelta(minutes=15)
MEGABYTE = 1024**2


async def publish(url: str, coins: int) -> float:
    """Publish the slots as a worker does whose market answers at once. Return the seconds that a slot takes."""
    settings = WorkerSettings.load({"NATS_URL": url})
    market = Simulated(coins=tuple(f"coin-{number}" for number in range(coins)), currency="usd")
    seconds = []
    async with Bus(settings, "bench") as bus:
        await bus.connection()
        for number in range(SLOTS[coins]):
            begin = time.perf_counter()
            made = await tick.make(FIRST + QUARTER * number, market, 60)
            await tick.publish(made.timestamp, encode(made), settings, bus)
            seconds.append(time.perf_counter() - begin)
    return p50(seconds)


async def in_stream(url: str) -> tuple[int, int]:
    """The stream's messages and bytes."""
    async with Bus(WorkerSettings.load({"NATS_URL": url}), "bench") as bus:
        state = (await (await bus.connection()).jetstream().stream_info(STREAM)).state
        return state.messages, state.bytes


def on_disk(url: str) -> dict[str, float]:
    """Bytes of the collection after compression, of its indexes, and before compression."""
    with MongoClient[dict[str, Any]](url, directConnection=True) as client:
        client.admin.command("fsync")
        told = client.crypto.command("collStats", "events")
    names = {"storageSize": "bytes in MongoDB", "totalIndexSize": "bytes of its indexes", "size": "bytes as BSON"}
    return {name: told[key] for key, name in names.items()}


def measure(coins: int) -> dict[str, float]:
    """For one slot, but for the API stub's memory."""
    with ExitStack() as closing:
        rig, slots = Rig(closing, 0), SLOTS[coins]
        made = asyncio.run(publish(rig.environ["NATS_URL"], coins))
        messages, size = asyncio.run(in_stream(rig.environ["NATS_URL"]))
        stub = programs.start("api_stub", environ=rig.environ | {"HTTP_PORT": str(ports.free())}, cwd=rig.data)
        closing.callback(stub.stop)
        begin, _ = rig.stored(1, 0.002)
        end, _ = rig.stored(messages, 0.02)
        sums = {"messages": messages, "bytes in the stream": size, "seconds until stored": end - begin}
        each = {name: total / slots for name, total in (sums | on_disk(rig.environ["MONGO_URL"])).items()}
        memory = psutil.Process(stub.pid).memory_info().rss / MEGABYTE
        return {"seconds until published": made, **each, "megabytes of the API stub": memory}
