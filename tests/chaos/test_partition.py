"""A network partition: the minority acknowledges nothing, the majority goes on, and both have the same afterwards."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import pytest
from pymongo import MongoClient, WriteConcern
from pymongo.errors import PyMongoError

from crypto_updates.local import cluster
from crypto_updates.local.servers import Mongod, NatsServer
from tests.chaos import client, copies
from tests.chaos.history import History
from tests.chaos.load import PATIENCE, at_each
from tests.chaos.network import Network
from tests.support import eventually

# Seconds for a new leader or primary, after 10 s of silence in a replica set; for all to be together again.
ELECTION, TOGETHER = 60.0, 60.0
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


def acknowledged(history: History, number: int, begin: float, end: float) -> int | None:
    """Events of the publishers at this server, of the attempts between the two; None if there was no attempt."""
    name = f"load{number or ''}@"
    within = [op for op in history.operations if op.id.startswith(name) and begin < op.begin and op.end < end]
    return sum(op.result == "ok" for op in within) if within else None


@pytest.mark.parametrize("role", ["leader", "follower"])
def test_a_nats_server_that_is_cut_off_acknowledges_nothing_and_has_the_same_afterwards(
    role: str, network: Network, servers: Sequence[NatsServer]
) -> None:
    history = History()
    leader = client.ask([server.url for server in servers], client.leader)
    alone = next(n for n, server in enumerate(servers) if (server.id == leader) == (role == "leader"))
    others = [number for number in range(cluster.SIZE) if number != alone]
    with at_each(servers, history, seed="partition", rate=150):
        assert eventually(lambda: history.acked > 100, ELECTION)
        network.cut(alone)
        begin = time.time()
        assert eventually(lambda: all(acknowledged(history, n, begin, time.time()) for n in others), ELECTION)
        assert eventually(
            lambda: time.time() > begin + PATIENCE + 1, ELECTION
        )  # the minority's attempts have an outcome
        end = time.time()
        network.heal()
        assert acknowledged(history, alone, begin, end) == 0
        assert eventually(lambda: acknowledged(history, alone, end, time.time()), TOGETHER)
    assert copies.judge(history.operations, copies.read_all(servers)) == []


def test_a_primary_that_is_cut_off_acknowledges_nothing_and_has_the_same_afterwards(
    network: Network, mongods: Sequence[Mongod]
) -> None:
    alone = next(number for number, member in enumerate(mongods) if is_primary(member))
    assert add(mongods[alone].url, "before")
    network.cut(alone)
    assert not add(mongods[alone].url, "minority")  # it takes it, and gets no majority for it
    others = [member for member in mongods if member is not mongods[alone]]
    assert eventually(lambda: any(add(member.url, "majority") for member in others if is_primary(member)), ELECTION)
    assert not is_primary(mongods[alone])
    network.heal()
    assert eventually(lambda: {stored(member) for member in mongods} == {("before", "majority")}, TOGETHER)


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
        return bool(asked.admin.command("hello")["isWritablePrimary"])


def stored(member: Mongod) -> tuple[str, ...]:
    url = f"{member.url}/?readPreference=secondaryPreferred"
    with MongoClient[dict[str, Any]](url, directConnection=True, timeoutMS=5000) as asked:
        try:
            return tuple(sorted(event["_id"] for event in asked.crypto.events.find()))
        except PyMongoError:
            return ()
