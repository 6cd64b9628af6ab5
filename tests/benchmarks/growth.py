"""What more costs: more coins in a slot, more API stubs, more workers."""

import asyncio
import json
import os
import time
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import nats

from crypto_updates.bus.client import Bus
from crypto_updates.bus.event import encode
from crypto_updates.harness.market import Market
from crypto_updates.local import guard, ports, programs
from crypto_updates.local.servers import NatsServer
from stack import console, services
from tests.benchmarks.backlog import FIRST
from tests.benchmarks.drain import Rig
from tests.benchmarks.quantile import p50
from tests.support import asking
from worker import tick
from worker.config import WorkerSettings
from worker.market.simulated import Simulated

COINS, STUBS, WORKERS = (10, 100, 1_000, 10_000), (1, 2, 4), (1, 10, 50)
# Slots that a cost is the median of; seconds between the workers' slots; and how many of those are looked at.
SLOTS, EVERY, WATCHED = 20, 10, 3
MARKET_SECONDS = 0.3


async def slot_of(url: str, coins: int) -> float:
    """Seconds from a slot's time until NATS has its event, with a market that answers at once."""
    settings = WorkerSettings.load({"NATS_URL": url, "FEED": f"coins-{coins}"})
    market = Simulated(coins=tuple(f"coin-{n}" for n in range(coins)), currency="usd")
    seconds = []
    async with Bus(settings, "bench") as bus:
        await bus.connection()
        for number in range(SLOTS):
            begin = time.perf_counter()
            made = await tick.make(FIRST + timedelta(minutes=15 * number), market, 60)
            await tick.publish(made.timestamp, encode(made), settings, bus)
            seconds.append(time.perf_counter() - begin)
    return p50(seconds)


def with_workers(count: int) -> dict[str, float]:
    """Of the slots looked at: the most market calls for one, the most events, and how many have data."""
    with ExitStack() as closing, Market(MARKET_SECONDS) as market:
        server = closing.enter_context(NatsServer())
        data = closing.enter_context(guard.folder())
        workers = [
            programs.start("worker", environ=_environ(server, market, data, number), cwd=data)
            for number in range(count)
        ]
        for worker in workers:
            closing.callback(worker.stop)
        for worker in workers:
            worker.wait_for_line("[CRON] Scheduled", 120)
        first = (time.time() // EVERY + 2) * EVERY
        time.sleep(first + WATCHED * EVERY - 1 - time.time())
        slots = [first + EVERY * number for number in range(WATCHED)]
        events = asyncio.run(_events(server.url))
    past = time.time() - time.monotonic()
    calls = Counter((request.at + past) // EVERY * EVERY for request in market.requests)
    found = [[body for body in events if body["slot"] == slot] for slot in slots]
    return {
        "market calls a slot": float(max(calls[slot] for slot in slots)),
        "events a slot": float(max(map(len, found))),
        "slots with data": sum("data" in body for bodies in found for body in bodies),
        "slots": WATCHED,
    }


def _environ(server: NatsServer, market: Market, data: Path, number: int) -> dict[str, str]:
    own = {
        "NATS_URL": server.url,
        "SCHEDULE": f"*/{EVERY} * * * * *",
        "HEALTH_PORT": str(ports.free()),
    }
    return os.environ | services.defaults(data) | own | asking(market, f"worker-{number}")


async def _events(url: str) -> list[dict[str, object]]:
    client = await nats.connect(url)
    js = client.jetstream()
    last = (await js.stream_info("CRYPTO")).state.last_seq
    bodies = [json.loads((await js.get_msg("CRYPTO", number)).data or b"") for number in range(1, last + 1)]
    await client.close()
    return [body | {"slot": datetime.fromisoformat(body["timestamp"]).timestamp()} for body in bodies]


def measure(events: int) -> dict[str, dict[str, object]]:
    """Seconds a slot by coins, events a second by API stubs, and what so many workers do."""
    with console.step("Slots of 10 to 10,000 coins"), NatsServer() as server:
        coins = {str(count): asyncio.run(slot_of(server.url, count)) for count in COINS}
    with ExitStack() as closing:
        rig = Rig(closing, events)
        stubs = {str(count): rig.api_stub(count)["pace"] for count in STUBS}
    workers: dict[str, object] = {}
    for count in WORKERS:
        with console.step(f"{count} workers"):
            workers[str(count)] = with_workers(count)
    return {"coins": dict(coins), "stubs": dict(stubs), "workers": workers}
