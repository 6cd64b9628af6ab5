"""The members of a real replica set: one, three, and one again by `provision --single`."""

import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from pymongo import MongoClient

from crypto_updates.harness.plugin import Service
from crypto_updates.local import cluster as local
from crypto_updates.local import replica_set
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from stack.setup import database, members, provision
from stack.setup.config import ProvisionSettings
from stack.setup.errors import SetupError
from tests.e2e.test_move import ACCOUNTS
from tests.support import HANG_SECONDS, eventually

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def nats() -> Iterator[NatsServer]:
    """It has no stream, so none moves."""
    with NatsServer(config=ACCOUNTS) as server:
        yield server


@pytest.fixture
def mongods() -> Iterator[list[Mongod]]:
    """The first is alone in its replica set, and has an event."""
    with ExitStack() as closing:
        servers = [closing.enter_context(server) for server in local.mongods()]
        local.unite(servers[:1])
        with MongoClient[dict[str, Any]](servers[0].url, directConnection=True) as client:
            client.crypto.events.insert_one({"_id": "crypto@1"})
        yield servers


def environ(nats: NatsServer, mongods: Sequence[Mongod]) -> dict[str, str]:
    return {
        "NATS_URL": nats.url,
        "NATS_USER": "provision",
        "NATS_PASSWORD": "right",
        "STREAM_REPLICAS": "3",
        "MONGO_URL": f"mongodb://{','.join(server.address for server in mongods)}/",
    }


def members_of(mongod: Mongod) -> list[str]:
    with MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
        return [member["host"] for member in client.admin.command("replSetGetConfig")["config"]["members"]]


def events_of(mongod: Mongod) -> list[str]:
    with MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
        return [event["_id"] for event in client.crypto.events.find()]


def lose_data(mongod: Mongod, primary: Mongod) -> None:
    """Until the primary has seen it go, it takes it for one that has all data."""
    mongod.stop()
    with MongoClient[dict[str, Any]](primary.url, directConnection=True) as client:
        assert eventually(lambda: replica_set.lacking(client)) == [mongod.address]
    shutil.rmtree(mongod.data)
    mongod.start()


def test_one_member_becomes_three_and_one_again_with_all_events(
    nats: NatsServer, mongods: list[Mongod], service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses, three = [server.address for server in mongods], ProvisionSettings.load(environ(nats, mongods))

    def leave(folder: Path) -> Process:
        process = service("stack", "provision", "--single", str(folder), **environ(nats, mongods))
        process.wait(HANG_SECONDS)
        return process

    database.provision(three, HANG_SECONDS, addresses)
    assert members_of(mongods[0]) == addresses
    assert [events_of(server) for server in mongods] == [["crypto@1"]] * 3

    lose_data(mongods[2], mongods[0])
    database.provision(three, HANG_SECONDS, addresses)
    assert events_of(mongods[2]) == ["crypto@1"]

    # As the single stack does it, started while the members are the cluster's.
    monkeypatch.setattr(members, "OTHERS", frozenset(addresses[1:]))
    with pytest.raises(SetupError, match=f"MongoDB's replica set has {', '.join(sorted(addresses[1:]))} too"):
        database.provision(ProvisionSettings.load(environ(nats, mongods[:1])), HANG_SECONDS)

    # A move that fails leaves the cluster as it is.
    (tmp_path / "broken" / "jetstream" / "STORE" / "streams" / "CRYPTO").mkdir(parents=True)
    failed = leave(tmp_path / "broken")
    assert failed.status == 1
    assert failed.lines.find(re.compile("the server does not take this for a stream"))
    assert members_of(mongods[0]) == addresses

    assert leave(tmp_path / "single").status == 0
    assert members_of(mongods[0]) == addresses[:1]
    assert events_of(mongods[0]) == ["crypto@1"]


async def test_without_jetstream_no_member_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(database, "provision", removing := Mock())
    with NatsServer(jetstream=False) as server:
        for delivery in ("auto", "core"):
            settings = ProvisionSettings.load({"NATS_URL": server.url, "DELIVERY": delivery})
            assert await provision.leave(settings, folder=tmp_path) == 1
            assert f"without JetStream (DELIVERY={delivery}), so the stream cannot be moved" in caplog.text
    removing.assert_not_called()
