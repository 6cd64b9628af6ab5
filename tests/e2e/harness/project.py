"""A user's tests of a server that stores what it hears: 30, of which some break things and leave them so."""

import sys
from typing import Any

import pytest
from pymongo import MongoClient

from crypto_updates.harness.app import App
from crypto_updates.harness.condition import eventually, never
from crypto_updates.harness.crypto import Crypto
from crypto_updates.local.servers import Mongod

SLOT = "2026-01-01T00:15:00Z"


def databases(mongod: Mongod) -> list[str]:
    with MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
        return client.list_database_names()


@pytest.fixture
def app(crypto: Crypto) -> App:
    return crypto.app(sys.executable, "listener.py")


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("copies", range(1, 13))
def test_it_stores_each_copy(crypto: Crypto, copies: int) -> None:
    crypto.publish(SLOT, copies=copies)
    crypto.reactions.wait(copies)
    assert len(crypto.published) == copies


@pytest.mark.parametrize("name", ["empty", "null", "[]", "not JSON", "not UTF-8", "no timestamp"])
def test_it_lives_on(crypto: Crypto, app: App, name: str) -> None:
    crypto.publish(body=crypto.invalid[name])
    crypto.publish(SLOT)
    crypto.reactions.wait(2)
    assert app.status is None


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("_", range(3))
def test_nats_is_left_killed(crypto: Crypto, _: int) -> None:
    crypto.nats.kill()


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("_", range(3))
def test_it_hears_again(crypto: Crypto, _: int) -> None:
    with crypto.link.cut():
        eventually(lambda: not crypto.subscribers())
        never(crypto.subscribers, during=0.2)
    eventually(crypto.subscribers)
    crypto.publish(SLOT)
    crypto.reactions.wait(1)


@pytest.mark.usefixtures("app")
def test_mongod_is_left_killed(crypto: Crypto) -> None:
    crypto.mongo.kill()


@pytest.mark.usefixtures("app")
def test_mongod_is_left_frozen(crypto: Crypto) -> None:
    crypto.mongo.freeze()
    crypto.mongo_link.hang()


@pytest.mark.parametrize("name", ["stats", "crypto", "test"])
def test_a_hard_coded_database_is_empty(crypto: Crypto, name: str) -> None:
    assert {*databases(crypto.mongo)} <= {"admin", "config", "local"}
    with MongoClient[dict[str, Any]](crypto.mongo.url, directConnection=True) as client:
        client[name].prices.insert_one({"price": 1})


@pytest.mark.usefixtures("app")
def test_its_database_is_its_own(crypto: Crypto) -> None:
    crypto.publish(SLOT)
    assert crypto.reactions.wait(1)[0].database == crypto.database
    assert crypto.database in databases(crypto.mongo)
