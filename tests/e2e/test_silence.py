"""A consumer whose pull requests are not answered at any server stays, instead of going from server to server."""

import nats.errors
import pytest
from nats.js import JetStreamContext

from crypto_updates.bus import consumer
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.consumer import NEXT, Consumer
from crypto_updates.local.servers import NatsServer
from tests.support import soon

RIGHTS = f'{{ publish: {{ deny: "$JS.API.{NEXT}" }} }}'
MAY_NOT_PULL = f"authorization {{ users: [{{ user: one, password: p, permissions: {RIGHTS} }}] }}"
LOGIN = {"NATS_USER": "one", "NATS_PASSWORD": "p"}


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[JetStreamContext]:
    """The connection of each look for the consumer. It is missing, and this user may neither look nor make it."""
    found: list[JetStreamContext] = []

    async def ensure(js: JetStreamContext) -> bool:
        found.append(js)
        raise nats.errors.TimeoutError

    monkeypatch.setattr(consumer, "ensure_consumer", ensure)
    monkeypatch.setattr(consumer, "SILENCE_SECONDS", 3.0)
    monkeypatch.setattr(consumer, "CHECK_EVERY_SECONDS", 0.1)
    return found


def twice(server: NatsServer, **login: str) -> BusSettings:
    """The server by two addresses, as if it were two."""
    return BusSettings.load({"NATS_URL": f"{server.url},{server.url.replace('127.0.0.1', 'localhost')}"} | login)


async def test_a_user_that_may_not_pull_stays_at_its_server_and_the_refusal_stays_known(
    looks: list[JetStreamContext],
) -> None:
    with NatsServer(config=MAY_NOT_PULL) as server:
        async with Bus(twice(server, **LOGIN), "test") as bus, Consumer(bus, 10):
            assert await soon(lambda: len(looks) >= 3)
            assert len({*map(id, looks)}) == 1
            assert bus.refusal


async def test_where_the_consumer_is_missing_it_leaves_a_server_once(looks: list[JetStreamContext]) -> None:
    with NatsServer() as server:
        async with Bus(twice(server), "test") as bus, Consumer(bus, 10):
            assert await soon(lambda: len(looks) >= 4)
            assert len({*map(id, looks)}) == 2
