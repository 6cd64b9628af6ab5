"""A network partition: the minority acknowledges nothing, the majority goes on, and both have the same afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from nats.js import JetStreamContext
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.consumer import Consumer
from crypto_updates.bus.event import MSG_ID
from crypto_updates.local import cluster, replica_set
from crypto_updates.local.servers import Mongod, NatsServer
from tests.chaos import client, copies
from tests.chaos.history import History
from tests.chaos.load import PATIENCE, PUBLISHERS, at_each
from tests.chaos.network import Network
from tests.support import eventually, soon

# Seconds for a new leader or primary, after 10 s of silence in a replica set; for all to be together again.
ELECTION, TOGETHER = 60.0, 60.0
BODY = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'
pytestmark = pytest.mark.timeout(300)
DURABLE = WriteConcern(w="majority", j=True, wtimeout=3000)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network(cluster.SIZE) as entered:
        yield entered


@pytest.fixture
def servers(network: Network) -> Iterator[Sequence[NatsServer]]:
    """With the stream."""
    with ExitStack() as closing:
        made = [closing.enter_context(server) for server in cluster.nats_servers(network.places)]
        assert eventually(lambda: copies.make_stream(made), ELECTION)
        yield made


@pytest.fixture
def mongods(network: Network) -> Iterator[Sequence[Mongod]]:
    with ExitStack() as closing:
        members = [closing.enter_context(member) for member in cluster.mongods(network.places)]
        cluster.unite(members)
        yield members


def outcomes(history: History, number: int, begin: float, end: float) -> Counter[str]:
    """How many attempts of the publishers at this server, made between the two, had which outcome."""
    name = f"load{number or ''}@"
    return Counter(o.result for o in history.operations if o.id.startswith(name) and begin < o.begin and o.end < end)


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_nats_server_that_is_cut_off_acknowledges_nothing_and_has_the_same_afterwards(
    role: str, network: Network, servers: Sequence[NatsServer]
) -> None:
    history = History()
    leader = eventually(lambda: client.ask([server.url for server in servers], client.leader), ELECTION)
    assert leader
    alone = next(n for n, server in enumerate(servers) if (server.id == leader) == (role == "leader"))
    others = [number for number in range(cluster.SIZE) if number != alone]
    with at_each(servers, history, seed="partition", rate=150):
        assert eventually(lambda: history.acked > 100, ELECTION)
        network.cut(alone)
        begin = time.time()
        assert eventually(lambda: all(outcomes(history, n, begin, time.time())["ok"] for n in others), ELECTION)
        # For longer than an attempt waits for an acknowledgement, and until some have waited in vain.
        assert eventually(lambda: time.time() > begin + PATIENCE + 1, ELECTION)
        assert eventually(lambda: outcomes(history, alone, begin, time.time()).total() > PUBLISHERS, ELECTION)
        end = time.time()
        network.heal()
        minority = outcomes(history, alone, begin, end)
        assert minority["ok"] == 0
        assert eventually(lambda: outcomes(history, alone, end, time.time())["ok"], TOGETHER)
    found = copies.read_all(servers)
    assert copies.judge(history.operations, found) == []
    majority = sum(outcomes(history, number, begin, end)["ok"] for number in others)
    print(  # noqa: T201 - the figures
        f"{role} cut off for {end - begin:.0f} s: none of its {minority.total()} attempts acknowledged, {majority} by"
        f" the others; events in the copies: {[len(copy) for copy in found.values()]}"
    )


async def test_a_consumer_leaves_a_server_that_is_cut_off(
    network: Network, servers: Sequence[NatsServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a server still answers its pings. The others may deliver to a pull request over it until it expires."""
    monkeypatch.setattr("crypto_updates.bus.consumer.PULL_EXPIRES_SECONDS", 6)
    urls = [server.url for server in servers]
    settings = BusSettings.load({"NATS_URL": ",".join(urls), "STREAM_REPLICAS": "3"})
    async with Bus(settings, "test") as bus, Consumer(bus, 10) as consumer:
        assert await soon(lambda: client.ask(urls, client.waiting), ELECTION)
        alone = (await bus.connection()).url
        network.cut(urls.index(alone))
        assert await soon(lambda: client.ask([url for url in urls if url != alone], publish), ELECTION)
        async with asyncio.timeout(ELECTION + TOGETHER):
            (delivery,) = await consumer.take()
        assert delivery.body == BODY


async def publish(js: JetStreamContext) -> bool:
    return bool(await js.publish("crypto.updates", BODY, headers={MSG_ID: "crypto@cut-off"}))


def test_a_primary_that_is_cut_off_acknowledges_nothing_and_has_the_same_afterwards(
    network: Network, mongods: Sequence[Mongod]
) -> None:
    alone = eventually(lambda: next(filter(is_primary, mongods), None), ELECTION)
    assert alone
    assert eventually(lambda: add(alone.url, "before"), TOGETHER)
    network.cut(mongods.index(alone))
    assert not add(alone.url, "minority")  # it takes it, and gets no majority for it
    others = [member for member in mongods if member is not alone]
    assert eventually(lambda: any(add(member.url, "majority") for member in others if is_primary(member)), ELECTION)
    assert eventually(lambda: not is_primary(alone), ELECTION)
    network.heal()
    assert eventually(lambda: {stored(member) for member in mongods} == {("before", "majority")}, TOGETHER)


def test_members_have_the_data_when_each_has_what_is_written_now(mongods: Sequence[Mongod]) -> None:
    """A secondary may still wait for the first answer of the primary: cut off then, it waits for 65 seconds."""
    leading = eventually(lambda: next(filter(is_primary, mongods), None), ELECTION)
    assert leading
    with MongoClient[dict[str, Any]](leading.url, directConnection=True) as asked:
        with next(member for member in mongods if member is not leading).freeze():
            assert replica_set.lacking(asked) == []
            with pytest.raises(TimeoutError, match="not every member had the data within 2 s"):
                replica_set.await_copies(asked, 2)
        replica_set.await_copies(asked, ELECTION)


def add(url: str, name: str) -> bool:
    """True once it is acknowledged, as the API stub's writes are; to add it again changes nothing."""
    with MongoClient[dict[str, Any]](url, directConnection=True, timeoutMS=5000) as asked:
        try:
            events = asked.crypto.get_collection("events", write_concern=DURABLE)
            events.update_one({"_id": name}, {"$set": {"name": name}}, upsert=True)
        except PyMongoError:
            return False
        return True


def is_primary(member: Mongod) -> bool:
    with MongoClient[dict[str, Any]](member.url, directConnection=True, timeoutMS=5000) as asked:
        try:
            return bool(asked.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False


def stored(member: Mongod) -> tuple[str, ...]:
    url = f"{member.url}/?readPreference=secondaryPreferred"
    with MongoClient[dict[str, Any]](url, directConnection=True, timeoutMS=5000) as asked:
        try:
            return tuple(sorted(event["_id"] for event in asked.crypto.events.find()))
        except PyMongoError:
            return ()
