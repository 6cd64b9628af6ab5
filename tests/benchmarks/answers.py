"""How fast an API stub answers when MongoDB has the events of many years, or of many feeds."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import inf
from typing import Any

import httpx
from pymongo import MongoClient

from api_stub.indexes import INDEXES
from crypto_updates.bus.event import identity
from crypto_updates.local import ports, programs
from tests.benchmarks import backlog, cost
from tests.benchmarks.cost import QUARTER
from tests.benchmarks.drain import Rig
from tests.support import eventually

ASKED = {
    "the newest 50 events": "/events?limit=50",
    "the newest 50 of a coin": "/events?limit=50&coin=bitcoin",
    "a coin's prices of a day": "/prices?coin=bitcoin",
    "a coin's prices of a year": "/prices?coin=bitcoin&since={year}",
    "the slots of a day": "/slots?hours=24",
    "the state": "/state",
    "the coins": "/coins",
}
# What the page asks for, one after the other, until all of its parts show data.
FIRST_PAINT = (
    "/events?limit=20",
    "/slots?hours=24&limit=300",
    "/coins",
    "/prices?coin=bitcoin&points=400",
    "/events?limit=1&coin=bitcoin",
    "/dead-letters?limit=20",
    "/state",
)
PAINT_SECONDS, PAINT_BYTES = "the page's first paint", "of this the bytes"
INDEX_BYTES = "bytes of the indexes, an event"
REQUESTS = 9
AT_ONCE = 10_000
FEED = "crypto"


def newest() -> datetime:
    """The newest slot of `*/15`."""
    seconds = QUARTER.total_seconds()
    return datetime.fromtimestamp(time.time() // seconds * seconds, UTC)


def documents(count: int, feeds: int, end: datetime, coins: int = 3) -> Iterator[dict[str, Any]]:
    """So many events of three quotes or more each, of the feeds in turn, the oldest first."""
    for number in range(count):
        slot = end - QUARTER * ((count - 1 - number) // feeds)
        name = f"feed-{number % feeds}" if number % feeds else FEED
        own = {"_id": identity(name, slot), "timestamp": slot, "received_at": slot + timedelta(seconds=1)}
        event = backlog.document(number) | own
        more = [event["data"][0] | {"coin": f"coin-{place}"} for place in range(3, coins)]
        yield event | {"data": event["data"] + more}


def fill(url: str, events: Iterator[dict[str, Any]], at_once: int = AT_ONCE) -> None:
    with MongoClient[dict[str, Any]](url, directConnection=True) as client:
        for name, keys in INDEXES:
            client.crypto[name].create_index(keys)
        while part := list(islice(events, at_once)):
            client.crypto.events.insert_many(part)


def measure(count: int, feeds: int, coins: int = 3) -> dict[str, float]:
    """Seconds of each answer, the bytes of those that the page waits for, and of the indexes for one event."""
    now = datetime.now(UTC)
    with ExitStack() as closing:
        rig = Rig(closing, 0)
        fill(rig.environ["MONGO_URL"], documents(count, feeds, newest(), coins), AT_ONCE * 3 // coins)
        own = {"HTTP_PORT": str(ports.free()), "SCHEDULE": "*/15 * * * *", "FEED": FEED}
        closing.callback(programs.start("api_stub", environ=rig.environ | own, cwd=rig.data).stop)
        address = f"http://127.0.0.1:{own['HTTP_PORT']}"
        with httpx.Client(base_url=address, trust_env=False, timeout=60) as http:
            if not eventually(lambda: is_ready(http)):
                raise TimeoutError(f"{address}/readyz")
            year = (now - timedelta(days=365)).strftime("%Y-%m-%dT%H:%M:%SZ")
            seconds = {name: answer(http, path.format(year=year)) for name, path in ASKED.items()}
            painted = {PAINT_SECONDS: sum(answer(http, path) for path in FIRST_PAINT)}
            painted[PAINT_BYTES] = sum(len(http.get(path).content) for path in FIRST_PAINT)
        return seconds | painted | {INDEX_BYTES: cost.on_disk(rig.environ["MONGO_URL"])["bytes of its indexes"] / count}


def is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.HTTPError:
        return False


def answer(http: httpx.Client, path: str) -> float:
    """Seconds of the fastest answer, which another load disturbs least; infinite if MongoDB does not answer in time."""
    seconds = []
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        if (response := http.get(path)).status_code == httpx.codes.SERVICE_UNAVAILABLE:
            return inf
        response.raise_for_status()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
