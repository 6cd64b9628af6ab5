"""The harness over HTTP, as a test in any language asks it; and the commands that ask it from a shell."""

import asyncio
import re
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import Decimal128, Int64
from pymongo import MongoClient

from crypto_updates.harness.control import routes
from crypto_updates.harness.control.server import serve
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.env import Place
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from crypto_updates.local.servers import Mongod
from stack.__main__ import main
from tests.support import HANG_SECONDS, connect, eventually
from tests.unit.test_control import ask

# Asks with a method, a path and a body, and returns the status and the answer.
Ask = Callable[..., tuple[int, Any]]


@pytest.fixture
def url(crypto: Crypto) -> Iterator[str]:
    with routes.serve(crypto, print, port=0) as url:
        yield url


@pytest.fixture
def asked(url: str) -> Ask:
    return lambda *request: ask(url, *request)


def test_a_write_is_told_in_json_whatever_types_it_has(crypto: Crypto, asked: Ask) -> None:
    with MongoClient[dict[str, Any]](crypto.env()["MONGO_URL"]) as client:
        values = {"long": Int64(5), "decimal": Decimal128("1.5"), "date": datetime(2026, 1, 1, tzinfo=UTC)}
        client.anything.things.insert_one({"_id": "a", **values})
        client.anything.things.update_one({}, {"$set": {"none": float("nan")}})
    status, (insert, update) = asked("POST", "/wait", {"what": "reactions", "count": 2})
    assert (status, [insert, update]) == (200, asked("GET", "/reactions")[1])
    assert (insert["database"], insert["collection"], insert["operation"]) == ("anything", "things", "insert")
    assert insert["document"] == {"_id": "a", "long": 5, "decimal": "1.5", "date": "2026-01-01T00:00:00Z"}
    assert (update["operation"], update["document"]) == ("update", {"none": None})


def test_each_kind_of_message_is_published_and_a_reset_forgets_them(asked: Ask) -> None:
    sent: list[dict[str, Any]] = [
        {"slot": "20260101T000000Z", "fields": {"source": "mine"}, "msg_id": "x", "headers": {"a": "b"}},
        {"invalid": "not UTF-8"},
        {"body": {"trigger": "update"}, "subject": "crypto.update"},
        {"base64": "AAE="},
    ]
    assert [asked("POST", "/events", message)[0] for message in sent] == 4 * [200]
    _, published = asked("GET", "/published")
    assert [(message["subject"], message["body"]) for message in published] == [
        ("crypto.updates", '{"event":"CRYPTO_UPDATE","timestamp":"2026-01-01T00:00:00Z","source":"mine"}'),
        ("crypto.updates", '{"event":"CRYPTO_UPDATE","timestamp":"\ufffd\ufffd"}'),
        ("crypto.update", '{"trigger":"update"}'),
        ("crypto.updates", "\x00\x01"),
    ]
    assert (published[0]["headers"]["Nats-Msg-Id"], published[0]["headers"]["a"]) == ("x", "b")
    assert asked("POST", "/reset") == (204, None)
    assert asked("GET", "/published") == (200, [])


def test_a_market_that_never_answers_is_put_right_by_a_reset(asked: Ask) -> None:
    status, changed = asked("POST", "/market", {"delay": None, "status": 500, "body": "<html>", "prices": {"x": None}})
    assert (status, changed["delay"], changed["status"], changed["body"], changed["prices"]["x"]) == (
        200, None, 500, "<html>", None,
    )  # fmt: skip
    asked("POST", "/reset")
    _, state = asked("GET", "/market")
    assert (state["delay"], state["status"], state["body"], "x" in state["prices"]) == (0, 200, None, False)


WRONG: list[tuple[str, object, str]] = [
    ("/events", {"slot": "yesterday"}, "422 slot=yesterday: not an ISO 8601 time"),
    ("/events", {"copies": 0}, "422 copies=0: Input should be greater than or equal to 1"),
    ("/events", {"copies": True}, "422 copies=True: Input should be a valid integer"),
    ("/events", {"invalid": "odd"}, "422 invalid=odd: Input should be 'empty', 'null'"),
    ("/events", {"subject": "a.*"}, "422 subject=a.*: "),
    ("/events", {"body": "x", "invalid": "null"}, "422 invalid=null: nothing beside body"),
    ("/events", {"fields": {"slot": 1}}, "422 fields=slot: other names"),
    ("/events", {"fields": {"self": 1}}, "422 fields=self: other names"),
    ("/events", r'{"body": "\ud800"}', "422 body={'body': "),
    ("/events", r'{"fields": {"\ud800": 1}}', "422 body={'fields': "),
    ("/events", r'{"msg_id": "\ud800"}', "422 body={'msg_id': "),
    ("/events", {"copys": 2}, "422 copys=2: no such name here"),
    ("/events", "not json", "422 body="),
    ("/events", {"headers": {"a b": "c"}}, "422 a b=a b: "),
    ("/events", {"msg_id": "a\r\nb: c"}, "422 msg_id="),
    ("/wait", {"what": "rain"}, "422 what=rain: Input should be 'subscribers', 'published' or 'reactions'"),
    ("/wait", {"what": "published", "within": 0}, "409 0 published after 0 s; wanted: 1"),
    ("/wait", {"what": "subscribers", "subject": "a", "within": 0}, "409 0 subscribers of a after 0 s; wanted: 1"),
    ("/wait", {"what": "published", "subject": "a", "within": 0}, "409 0 published of a after 0 s; wanted: 1"),
    ("/wait", {"what": "reactions", "subject": "a"}, "422 subject=a: nothing with reactions"),
    ("/market", {"status": 99}, "422 status=99: "),
    ("/market", {"prices": {"bitcoin": "x"}}, "422 bitcoin=x: Input should be a valid number"),
    ("/market", '{"prices": {"bitcoin": NaN}}', "422 bitcoin=nan: Input should be a finite number"),
    ("/market", r'{"body": "\ud800"}', "422 body={'body': "),
    ("/clock", {"schedule": "x"}, "422 `"),
    ("/clock", {"clock": []}, "422 clock=[]: a number above 0, or a time as libfaketime reads it"),
    ("/clock", {"clock": 0}, "422 clock=0: a number above 0"),
    ("/clock", {"clock": "a\0"}, "422 clock=a\0: a number above 0"),
    ("/clock", {"schedule": "a\0"}, "422 schedule=a\0: "),
    ("/clock", {"environ": {"schedule": "x"}}, "422 schedule=schedule: "),
    ("/clock", {"environ": {"A=B": "x"}}, "422 A=B=A=B: "),
    ("/clock", {"environ": {"A": "a\0"}}, "422 A=a\0: "),
    ("/clock", {"environ": {"A": "a" * 200_000}}, "422 [Errno 7] Argument list too long"),
]


def test_what_is_wrong_with_a_request_is_told(asked: Ask) -> None:
    for path, body, told in WRONG:
        status, problem = asked("POST", path, body)
        assert f"{status} {problem['detail']}".startswith(told)
    assert asked("GET", "/published") == (200, [])


def test_the_messages_that_are_waited_for_may_be_those_of_a_subject(asked: Ask) -> None:
    for subject in ("crypto.update", "crypto.updates", "crypto.update"):
        asked("POST", "/events", {"subject": subject, "body": subject})
    _, published = asked("POST", "/wait", {"what": "published", "subject": "crypto.update", "count": 2})
    assert [message["body"] for message in published] == 2 * ["crypto.update"]
    assert len(asked("POST", "/wait", {"what": "published", "count": 3})[1]) == 3


async def test_a_message_on_a_subject_that_is_waited_for_is_seen_whoever_sends_it(crypto: Crypto, asked: Ask) -> None:
    client = await connect(crypto.nats.url)
    wanted = {"what": "published", "subject": "of.others", "within": 60}
    with ThreadPoolExecutor() as pool:
        seen = pool.submit(asked, "POST", "/wait", wanted)
        while not seen.done():
            await client.publish("of.others", b"x")
            await asyncio.sleep(0.05)
    assert seen.result()[1][0]["subject"] == "of.others"
    await client.close()


def test_a_reset_ends_a_fault_that_has_seconds_left(crypto: Crypto, asked: Ask) -> None:
    with ThreadPoolExecutor() as pool:
        broken = pool.submit(asked, "POST", "/faults/nats", {"fault": "down", "seconds": 600})
        assert eventually(lambda: crypto.nats.status is not None)
        assert asked("POST", "/reset") == (204, None)
        assert broken.result(HANG_SECONDS) == (204, None)
    assert crypto.nats.status is None
    assert asked("POST", "/events", {"copies": 1}) == (200, {"seq": 1, "duplicate": False})


def test_there_is_one_worker_also_when_two_ask_for_one_at_once(crypto: Crypto, asked: Ask) -> None:
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(asked, "POST", "/clock", {"schedule": "@daily"}) for _ in range(2)]
        assert [one.result(HANG_SECONDS) for one in both] == 2 * [(204, None)]
    assert [app.status is None for app in crypto.apps] == [False, True]
    assert asked("POST", "/clock", {"schedule": None}) == (204, None)
    assert [app.status is None for app in crypto.apps] == [False, False]


def test_more_than_what_is_wanted_is_told(asked: Ask) -> None:
    asked("POST", "/events", {"copies": 2})
    status, problem = asked("POST", "/wait", {"what": "published", "count": 1, "still": 5})
    assert (status, problem["detail"]) == (409, "2 published; wanted: no more than 1")


def test_the_commands_ask_the_harness(
    crypto: Crypto, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HARNESS_URL", url)
    monkeypatch.setenv("NATS_URL", "nats://127.0.0.1:1")
    commands = {
        "publish --slot 2026-01-01T00:00Z --copies 2": 0,
        "wait published --count 2": 0,
        "wait subscribers crypto.update --within 0": 1,
        "market set bitcoin=41234.75 moon=none": 0,
        "market delay never": 0,
        "market status 429": 0,
        "fault nats freeze 0": 0,
    }
    assert {command: main(command.split()) for command in commands} == commands
    market = crypto.market
    assert (market.prices["bitcoin"], market.prices["moon"], market.delay, market.status) == (41234.75, None, None, 429)
    written = capsys.readouterr()
    assert written.err == "0 subscribers of crypto.update after 0 s; wanted: 1\n"
    said, began, ended = written.out.splitlines()
    assert (said, began) == ("Published on crypto.updates: message 1 of the stream", "nats: freeze for 0 s")
    assert re.fullmatch(r"nats: freeze is over after \d+\.\d s", ended)


def test_without_a_harness_it_goes_to_nats_url(crypto: Crypto, service: Service, tmp_path: Path) -> None:
    def run(*arguments: str, **environ: str) -> tuple[int, list[str]]:
        """HARNESS_URL may also be that of a demo, which publishes nothing by hand."""
        process = service("stack", "publish", *arguments, **{"HARNESS_URL": "", "NATS_URL": crypto.nats.url} | environ)
        return process.wait(), list(process.lines)

    crypto.publish("2026-01-01T00:00:00Z")
    known = ", which had it already, so that only plain subscribers hear it"
    told = [f"Published on crypto.updates: message 1 of the stream{known}"]
    assert run("--slot", "2026-01-01T00:00:00Z") == (0, told)
    (tmp_path / "body").write_bytes(b"\xff")
    crypto.publish(subject="crypto.update")  # so that the harness sees what passes there
    assert run("--body", "body", "--subject", "crypto.update", "--copies", "2") == (0, ["Published on crypto.update"])
    first, copy, _, *raw = crypto.published.wait(5)
    assert (copy.body, copy.headers["Nats-Msg-Id"]) == (first.body, first.headers["Nats-Msg-Id"])
    assert [message.body for message in raw] == [b"\xff", b"\xff"]
    with serve("A demo", port=0) as demo:
        assert run(HARNESS_URL=demo) == (0, ["Published on crypto.updates: message 2 of the stream"])
    status, (refused,) = run(NATS_URL="nats://127.0.0.1:1")
    assert (status, refused.startswith("CONNECTION_REFUSED nats://127.0.0.1:1: ")) == (1, True)


def test_the_variables_for_another_machine_name_this_one_as_it_is_asked(mongod: Mongod, tmp_path: Path) -> None:
    place = Place(host="0.0.0.0", nats=ports.free(), mongo=ports.free(), market=ports.free())  # noqa: S104 - the case
    with Crypto(mongod, tmp_path, place) as crypto, routes.serve(crypto, print, port=0, host=place.host) as url:
        _, environ = ask(url.replace("127.0.0.1", "localhost"), "GET", "/env")
        assert (environ["NATS_URL"], environ["MONGO_PORT"]) == (f"nats://localhost:{place.nats}", str(place.mongo))
        assert environ["COINGECKO_URL"] == f"http://localhost:{place.market}/api/v3"
        assert environ.keys() < crypto.env().keys()  # without what leads to files of this machine
        other = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"
        for port in (place.nats, place.mongo, place.market, int(url.rpartition(":")[2])):
            socket.create_connection((other, port), timeout=5).close()
