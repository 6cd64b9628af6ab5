"""What is forgotten by a clear, and what is not."""

import threading
from typing import Any

import pytest
from pymongo import MongoClient

from crypto_updates.harness import reactions
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.reactions import Reaction


def test_a_write_that_is_read_while_all_are_forgotten_is_forgotten_too(
    crypto: Crypto, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cleared = reactions._reaction, threading.Event()

    def clearing(change: dict[str, Any]) -> Reaction:
        if not cleared.is_set():
            crypto.reactions.clear()
            cleared.set()
        return made(change)

    monkeypatch.setattr(reactions, "_reaction", clearing)
    with MongoClient[dict[str, Any]](crypto.mongo.url, directConnection=True) as client:
        client.one.things.insert_one({"_id": "old"})
        assert cleared.wait(60)
        client.one.things.insert_one({"_id": "new"})
        assert [seen.key for seen in crypto.reactions.wait()] == ["new"]


def test_a_clear_waits_for_a_mongod_that_comes_back(crypto: Crypto) -> None:
    crypto.mongo.kill()
    starting = threading.Timer(2, crypto.mongo.start)
    starting.start()
    crypto.reactions.clear()
    starting.join()
    assert crypto.mongo.status is None
