"""A database with events of every kind, and an API stub that serves it."""

import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from api_stub.indexes import INDEXES
from crypto_updates.bus.event import identity, text
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from tests.support import ROOT

NOW = datetime.now(UTC).replace(microsecond=0)
INTERVAL = timedelta(hours=2)
# The next slot is almost an hour away, so that no test meets it.
NEWEST = NOW.replace(second=0) - timedelta(hours=1)
SCHEDULE = f"{NEWEST.minute} {NEWEST.hour % 2}-23/2 * * *"


def quote(coin: str, price: object) -> dict[str, Any]:
    return {"coin": coin, "symbol": coin[:3], "price": price, "market_cap": 7.5, "change_24h": None, "currency": "usd"}


def event(slot: datetime, *quotes: dict[str, Any], name: str | None = None, **more: object) -> dict[str, Any]:
    return {
        "_id": name or identity("crypto", slot),
        "event": "CRYPTO_UPDATE",
        "timestamp": slot,
        "data": list(quotes),
        "received_at": slot + timedelta(seconds=1),
        "stream_seq": 1,
    } | more


# Of the newest eight slots, one is missing, one is late, and one is by another feed.
SLOTS = [NEWEST - n * INTERVAL for n in range(8)]
EVENTS = [
    event(SLOTS[0], quote("bitcoin", 50000), quote("tiny", 0.001234567)),
    event(SLOTS[1], quote("bitcoin", 45000), quote("tiny", 0.003)),
    event(SLOTS[2], quote("bitcoin", 40000), received_at=SLOTS[2] + timedelta(minutes=9)),
    event(SLOTS[4], quote("bitcoin", None), quote("$price", 1), quote("ethereum", None)),
    event(SLOTS[5], name="other@" + text(SLOTS[5])),
    event(SLOTS[5]),
    event(SLOTS[6], name="odd/id é#?&+ %"),
    event(SLOTS[6], data="bitcoin"),
    event(SLOTS[7], data=[{"coin": ["bitcoin"], "price": 1}, 5, None, {"coin": "bitcoin", "price": ["1", 1]}]),
    event(datetime(2999, 1, 1, tzinfo=UTC), quote("bitcoin", 1), name="future"),
]


class Api:
    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.url = str(client.base_url).rstrip("/")

    def get(self, path: str, **parameters: object) -> httpx.Response:
        # An empty dictionary would take away the query that the path has.
        return self._client.get(path, params={name: str(value) for name, value in parameters.items()} or None)

    def read(self, path: str, **parameters: object) -> Any:  # noqa: ANN401 - JSON
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def client() -> Iterator[MongoClient[dict[str, Any]]]:
    with Mongod() as server, MongoClient[dict[str, Any]](server.url, directConnection=True) as client:
        events, letters = client.crypto.events, client.crypto.dead_letters
        for name, keys in INDEXES:
            client.crypto[name].create_index(keys)
        events.insert_many(EVENTS)
        letters.insert_many(
            {
                "_id": f"CRYPTO#{n}",
                "raw": b"\xff<b>" * (5000 if n == 2 else 1),
                "headers": {"Nats-Msg-Id": "x"},
                "reason": "event: missing",
                "stream_seq": n,
                "received_at": NOW - timedelta(seconds=n),
            }
            for n in range(3)
        )
        yield client


@contextlib.contextmanager
def started(client: MongoClient[dict[str, Any]], folder: Path, **environ: str) -> Iterator[Api]:
    with NatsServer() as server:
        port = ports.free()
        environ = {"SCHEDULE": SCHEDULE} | environ
        environ |= {"NATS_URL": server.url, "MONGO_URL": "mongodb://{}:{}".format(*client.address or ())}
        environ |= {"HTTP_PORT": str(port), "PYTHONPATH": str(ROOT)}
        stub = Process([sys.executable, "-m", "api_stub"], env=os.environ | environ, cwd=folder)
        try:
            stub.wait_for_line("[NATS] Consumer")
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as http:
                yield Api(http)
        finally:
            stub.stop()


@pytest.fixture(scope="module")
def api(client: MongoClient[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with started(client, tmp_path_factory.mktemp("api")) as api:
        yield api


@pytest.fixture
def dense(client: MongoClient[dict[str, Any]], tmp_path: Path) -> Iterator[Api]:
    """With an event each second."""
    with started(client, tmp_path, SCHEDULE="* * * * * *") as api:
        yield api
