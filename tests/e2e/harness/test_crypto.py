"""What a test gets by the fixture `crypto`."""

import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient, uri_parser

from crypto_updates.bus.event import MSG_ID
from crypto_updates.harness import publisher
from crypto_updates.harness.bodies import INVALID
from crypto_updates.harness.condition import eventually, never
from crypto_updates.harness.crypto import Crypto
from crypto_updates.local import ports
from crypto_updates.local.errors import StackError
from crypto_updates.local.servers import Mongod
from tests.support import HANG_SECONDS

LISTENER = (sys.executable, str(Path(__file__).with_name("listener.py")))
SLOT = "2023-11-21T14:30:00Z"


def test_an_event_leads_to_a_reaction(crypto: Crypto) -> None:
    crypto.app(*LISTENER)
    begin = time.monotonic()
    crypto.publish(SLOT)
    (reaction,) = crypto.reactions.wait(1)
    assert (reaction.operation, reaction.database, reaction.collection) == ("insert", crypto.database, "heard")
    assert reaction.document["body"] == f'{{"event":"CRYPTO_UPDATE","timestamp":"{SLOT}"}}'
    assert begin < reaction.seen_at < time.monotonic()
    never(lambda: len(crypto.reactions) > 1, during=0.3)


def test_what_is_published_has_passed_copies_included(crypto: Crypto) -> None:
    receipt = crypto.publish(SLOT, copies=3, headers={"trace": "1"})
    again = crypto.publish(SLOT)
    assert ((receipt.seq, receipt.duplicate), (again.seq, again.duplicate)) == ((1, False), (1, True))
    assert [message.headers[MSG_ID] for message in crypto.published] == [f"crypto@{SLOT}"] * 4
    assert [message.headers.get("trace") for message in crypto.published] == ["1"] * 3 + [None]
    crypto.publish(subject="crypto.update", body={"trigger": "update"})
    assert (crypto.published[-1].subject, crypto.published[-1].json()) == ("crypto.update", {"trigger": "update"})
    assert crypto.publish().duplicate is False


def test_each_invalid_body_passes_as_it_is(crypto: Crypto) -> None:
    for body in crypto.invalid.values():
        assert not crypto.publish(body=body).duplicate
    assert [message.body for message in crypto.published] == list(INVALID.values())


def test_what_cannot_be_published_is_refused_and_harms_nothing_else(crypto: Crypto) -> None:
    for subject in ("a b", "crypto.*", "", "a\r\nb", "x" * 5000):
        with pytest.raises(ValueError, match=r"accepted: a subject without wildcards"):
            crypto.publish(subject=subject)
        with pytest.raises(ValueError, match=r"accepted: a subject without wildcards"):
            crypto.app("sleep", "60", subscribes=subject)
    with pytest.raises(ValueError, match="copies: 0; accepted: 1 or more"):
        crypto.publish(copies=0)
    crypto.nats.restart()
    assert not crypto.publish(SLOT).duplicate
    assert [message.headers[MSG_ID] for message in crypto.published] == [f"crypto@{SLOT}"]


def test_a_publish_without_nats_is_an_error_and_works_again_afterwards(
    crypto: Crypto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "_CONNECTED_SECONDS", 0.3)
    with (
        crypto.nats.down(),
        pytest.raises(StackError, match=rf"cannot publish: {crypto.nats.url}: no answer within 0.3 s"),
    ):
        crypto.publish(SLOT)
    monkeypatch.undo()
    assert not crypto.publish(SLOT).duplicate
    crypto.nats.down(0.1)
    assert crypto.publish(SLOT).duplicate
    assert len(crypto.published) == 2


def test_a_subject_that_is_new_while_nats_is_down_is_heard_once(crypto: Crypto) -> None:
    with ThreadPoolExecutor() as pool, crypto.nats.down():
        published = pool.submit(crypto.publish, subject="crypto.update")
        never(published.done, during=0.3)
        crypto.nats.mend()
        published.result(HANG_SECONDS)
    assert [message.subject for message in crypto.published] == ["crypto.update"]


def test_the_writes_are_seen_of_all_databases_and_over_a_restart_of_mongod(crypto: Crypto) -> None:
    with MongoClient[dict[str, Any]](crypto.mongo.url, directConnection=True) as client:
        client.one.things.insert_one({"_id": 1})
        client.two.others.insert_one({"_id": 2, "kept": True})
        client.two.others.update_one({"_id": 2}, {"$set": {"price": 3}})
        crypto.reactions.wait(3)
        crypto.mongo.down(0)
        client.two.others.replace_one({"_id": 2}, {"new": True})
        client.one.things.delete_one({"_id": 1})
        crypto.reactions.wait(5)
    found = [(seen.operation, seen.database, seen.key, seen.document) for seen in crypto.reactions]
    assert found == [
        ("insert", "one", 1, {"_id": 1}),
        ("insert", "two", 2, {"_id": 2, "kept": True}),
        ("update", "two", 2, {"price": 3}),
        ("replace", "two", 2, {"_id": 2, "new": True}),
        ("delete", "one", 1, {}),
    ]
    with pytest.raises(AssertionError, match=r"^5 of 6 reactions \(writes to MongoDB\) after [\d.]+ s\n.*insert"):
        crypto.reactions.wait(6, within=0.1)


def test_what_was_written_before_a_clear_is_not_seen_after_it(crypto: Crypto) -> None:
    with MongoClient[dict[str, Any]](crypto.mongo.url, directConnection=True) as client:
        client.one.things.insert_many([{"_id": number} for number in range(5000)])
        crypto.reactions.clear()
        client.one.things.insert_one({"_id": "new"})
        crypto.reactions.wait(1)
        never(lambda: [seen.key for seen in crypto.reactions] != ["new"], during=0.5)


def test_a_fault_of_the_link_to_mongod_holds_the_server_up(crypto: Crypto) -> None:
    crypto.app(*LISTENER)
    with crypto.mongo_link.hang():
        crypto.publish()
        never(lambda: len(crypto.reactions), during=0.5)
    crypto.reactions.wait(1)


def test_a_link_for_a_hard_coded_port_is_cut_like_the_other(crypto: Crypto) -> None:
    port = ports.free()
    crypto.link.listen(port)
    for host in ("127.0.0.1", "localhost", *["::1"] * socket.has_dualstack_ipv6()):
        with socket.create_connection((host, port), timeout=5) as client:
            assert client.recv(4) == b"INFO"
    with crypto.link.cut(), pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, port), timeout=5)
    with socket.create_connection((host, port), timeout=5) as client:
        assert client.recv(4) == b"INFO"


@pytest.mark.parametrize("appended", ["", "/other", "other", "/other&retryWrites=true"])
def test_a_database_name_that_a_server_appends_does_no_harm(crypto: Crypto, appended: str) -> None:
    parsed = uri_parser.parse_uri(crypto.env()["MONGO_URL"] + appended)
    assert (parsed["database"], parsed["options"]["directConnection"]) == (crypto.database, True)


def test_reset_puts_right_what_is_broken_and_empties_all(crypto: Crypto) -> None:
    crypto.app(*LISTENER)
    crypto.publish(SLOT)
    crypto.reactions.wait(1)
    crypto.market.status = 500
    crypto.link.cut()
    crypto.nats.freeze()
    crypto.mongo.kill()
    crypto.reset()
    assert (crypto.market.status, len(crypto.published), len(crypto.reactions)) == (200, 0, 0)
    eventually(crypto.subscribers)
    assert not crypto.publish(SLOT).duplicate
    crypto.reactions.wait(1)
    never(lambda: len(crypto.reactions) > 1, during=0.2)


def test_many_tests_hold_no_more_files_open_than_one(mongod: Mongod, tmp_path: Path) -> None:
    def files() -> int:
        return len([*Path("/dev/fd").iterdir()])

    before = files()
    for _ in range(3):
        with Crypto(mongod, tmp_path) as crypto:
            crypto.app("sleep", "60", subscribes=None)
            crypto.app("sleep", "60", subscribes=None)
    eventually(lambda: files() <= before + 5)


def test_what_a_test_leaves_broken_or_behind_does_not_reach_the_next(mongod: Mongod, tmp_path: Path) -> None:
    with Crypto(mongod, tmp_path) as first:
        with MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
            client.hardcoded.things.insert_one({"_id": 1})
        app = first.app(*LISTENER)
        first.nats.freeze()
        first.mongo_link.hang()
        app.freeze()
        mongod.freeze()
    assert app.status == -signal.SIGTERM  # it was not left frozen until it had to be killed
    with Crypto(mongod, tmp_path) as second:
        with MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
            assert client.hardcoded.things.count_documents({}) == 0
        assert second.publish(SLOT).seq == 1
        mongod.kill()
    assert mongod.status is None
