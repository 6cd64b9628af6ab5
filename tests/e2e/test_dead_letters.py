"""`crypto-updates dead-letters`: what the API stub set aside is looked at, and becomes events after all."""

import json
import os
import pty
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from api_stub.errors import BadDocumentError
from api_stub.store import Store
from api_stub.subscriber import dead_letter, document
from crypto_updates.bus.delivery import Delivery
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.local import ports
from stack.letters.replay import replay
from tests.e2e.conftest import Stack
from tests.support import ROOT, soon

KEY = "crypto@2023-11-21T14:30:00Z"
GOOD = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00.123456Z","data":[1.0,{"b":2,"a":3000000000}]}'
BAD = b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}'


class Done(NamedTuple):
    status: int
    lines: list[str]


def run(stack: Stack, *arguments: str, **environ: str) -> Done:
    process = stack.run("stack", "dead-letters", *arguments, **environ)
    return Done(process.wait(), list(process.lines))


def delivery(body: bytes, seq: int = 1, key: str = KEY) -> Delivery:
    reply = f"$JS.ACK.CRYPTO.api_stub.1.{seq}.7.1700524800000000000.0"
    return Delivery.of(Msg(Client(), "crypto.updates", reply, body, {"Nats-Msg-Id": key} if key else None))


def bury(stack: Stack, body: bytes, seq: int = 1, key: str = KEY) -> str:
    """As the subscriber does; return the letter's id."""
    letter = dead_letter(delivery(body, seq, key), "body: RuntimeError")
    stack.dead_letters.insert_one(letter)
    return str(letter["_id"])


def everything(stack: Stack) -> list[list[Any]]:
    """The ids of all events, and of all letters."""
    return [[found["_id"] for found in kind.find()] for kind in (stack.events, stack.dead_letters)]


async def test_a_letter_goes_from_the_subscriber_to_an_event_of_the_publishers_id(
    stack: Stack, publisher: Client, tmp_path: Path
) -> None:
    stack.api_stub()
    await publisher.publish("crypto.updates", BAD, headers={"Nats-Msg-Id": KEY})
    assert await soon(lambda: stack.dead_letters.count_documents({}) == 1)
    (letter,) = everything(stack)[1]
    assert run(stack, "list").lines[0].endswith("timestamp: not an ISO 8601 time")
    assert f"  {BAD.decode()}" in run(stack, "show", letter).lines
    (tmp_path / "body").write_bytes(GOOD)
    received = stack.dead_letters.find_one({})["received_at"]  # type: ignore[index]
    assert run(stack, "replay", letter, "--body", str(tmp_path / "body")).status == 0
    (event,) = stack.events.find()
    assert stack.dead_letters.count_documents({}) == 0
    assert (event["_id"], event["stream_seq"], event["received_at"]) == (KEY, 1, received)
    assert event["timestamp"] == datetime(2023, 11, 21, 14, 30, 0, 123_000, UTC)


def test_after_a_fix_of_the_consumer_all_are_replayed(stack: Stack) -> None:
    letters = [bury(stack, GOOD, seq, f"crypto@{seq}") for seq in range(1, 5)]
    nameless = bury(stack, GOOD, 5, "")
    done = run(stack, "replay", "--all")
    assert (done.status, done.lines[-1]) == (0, "5 dead letters replayed")
    events, left = everything(stack)
    assert (sorted(events), left) == (sorted([*(f"crypto@{seq}" for seq in range(1, 5)), nameless]), [])
    assert f"Stored: crypto@1 (was {letters[0]})" in done.lines
    assert run(stack, "replay", "--all") == Done(0, ["0 dead letters replayed"])


def test_an_event_is_replayed_as_the_subscriber_would_have_stored_it(stack: Stack) -> None:
    letter = bury(stack, GOOD)
    stack.events.insert_one(document(delivery(GOOD), datetime.now(UTC)))
    expected = stack.events.find_one_and_delete({"_id": KEY})
    assert run(stack, "replay", letter).status == 0
    found = stack.events.find_one({"_id": KEY})
    assert found
    assert expected
    assert list(found) == list(expected)
    assert {**found, "received_at": 0} == {**expected, "received_at": 0}


class Crash(Exception):  # noqa: N818 - not an error of ours
    """The process is killed."""


class Killed(Store):
    """Killed between storing and removing."""

    async def remove_dead_letter(self, identity: str) -> NoReturn:
        raise Crash(identity)


async def test_a_replay_that_was_killed_halfway_is_finished_by_the_next(stack: Stack, mongo_url: str) -> None:
    letter = bury(stack, GOOD)
    async with Killed(mongo_url, stack.events.database.name) as store:
        found = await store.dead_letter(letter)
        with pytest.raises(Crash):
            await replay(store, found or {})
    assert everything(stack) == [[KEY], [letter]]
    done = run(stack, "replay", letter)
    assert (done.status, done.lines[0]) == (0, f"Stored already: {KEY} (was {letter})")
    assert everything(stack) == [[KEY], []]


def test_two_replays_at_once_store_each_event_once(stack: Stack) -> None:
    for seq in range(1, 61):
        bury(stack, GOOD, seq, f"crypto@{seq}")
    processes = [stack.run("stack", "dead-letters", "replay", "--all") for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    events, left = everything(stack)
    assert (len(events), left) == (60, [])


@pytest.mark.parametrize(
    "other",
    [
        GOOD.replace(b"1.0", b"1"),
        GOOD.replace(b"1.0", b"true"),
        GOOD.replace(b"123456", b"124456"),
        GOOD.replace(b"}]}", b'}],"more":null}'),
        GOOD.replace(b',"data":[1.0,{"b":2,"a":3000000000}]', b""),
    ],
    ids=["integer", "boolean", "time", "one key more", "without data"],
)
async def test_a_letter_whose_id_another_event_has_is_kept(stack: Stack, mongo_url: str, other: bytes) -> None:
    letter = bury(stack, GOOD)
    stack.events.insert_one(document(delivery(other), datetime.now(UTC)))
    before = list(stack.events.find())
    async with Store(mongo_url, stack.events.database.name) as store:
        with pytest.raises(BadDocumentError, match=f"^another event is stored as {KEY}$"):
            await replay(store, await store.dead_letter(letter) or {})
    assert (list(stack.events.find()), everything(stack)[1]) == (before, [letter])


async def test_an_event_that_came_again_from_elsewhere_in_the_stream_is_the_same(stack: Stack, mongo_url: str) -> None:
    letter = bury(stack, GOOD)
    stack.events.insert_one(document(delivery(GOOD, seq=99), datetime.now(UTC)))
    async with Store(mongo_url, stack.events.database.name) as store:
        assert not await replay(store, await store.dead_letter(letter) or {})
    assert everything(stack) == [[KEY], []]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (BAD, InvalidEventError),
        (GOOD.replace(b"3000000000", b"9223372036854775808"), BadDocumentError),
        (b"", InvalidEventError),
    ],
    ids=["no event", "not storable", "empty"],
)
async def test_a_body_that_is_still_no_event_is_kept(
    stack: Stack, mongo_url: str, body: bytes, error: type[Exception]
) -> None:
    letter = bury(stack, body)
    async with Store(mongo_url, stack.events.database.name) as store:
        with pytest.raises(error):
            await replay(store, await store.dead_letter(letter) or {})
    assert everything(stack) == [[], [letter]]


def test_it_says_why_letters_are_kept_and_replays_the_others(stack: Stack) -> None:
    stack.events.insert_one(document(delivery(GOOD.replace(b"1.0", b"1"), key="taken"), datetime.now(UTC)))
    bad, taken = bury(stack, BAD, 1), bury(stack, GOOD, 2, "taken")
    bury(stack, GOOD, 3, "good")
    done = run(stack, "replay", "--all")
    assert done.status == 1
    assert set(done.lines) >= {
        f"Kept {bad}: timestamp: not an ISO 8601 time",
        f"Kept {taken}: another event is stored as taken",
        "1 dead letter replayed, 2 not",
    }
    assert everything(stack) == [["taken", "good"], [bad, taken]]


@pytest.mark.parametrize("command", ["replay", "discard", "show"])
def test_an_unknown_id_is_told_and_nothing_else_is_touched(stack: Stack, command: str) -> None:
    letter = bury(stack, GOOD)
    done = run(stack, command, "CRYPTO#7@\x1b[2J", *(["--yes"] if command == "discard" else []))
    assert done.status == 1
    assert "No dead letter has the id CRYPTO#7@\ufffd[2J" in done.lines
    assert everything(stack) == [[], [letter]]


def test_the_newest_are_listed_first_and_counted(stack: Stack) -> None:
    letters = [bury(stack, b"x" * seq, seq) for seq in range(1, 6)]
    for place, letter in enumerate(letters):
        at = datetime(2023, 11, 21, 12, place, tzinfo=UTC)
        stack.dead_letters.update_one({"_id": letter}, {"$set": {"received_at": at}})
    lines = run(stack, "list", "--limit", "2").lines
    assert [line.split()[:4] for line in lines[:2]] == [
        [f"2023-11-21T12:0{place}:00Z", letters[place], str(place + 1), "B"] for place in (4, 3)
    ]
    assert lines[2] == "2 of 5 (--limit)"
    document = json.loads("\n".join(run(stack, "list", "--json").lines))
    assert [letter["id"] for letter in document] == letters[::-1]
    assert document[0] == {
        "id": letters[4],
        "received_at": "2023-11-21T12:04:00+00:00",
        "stream_seq": 5,
        "reason": "body: RuntimeError",
        "headers": {"Nats-Msg-Id": KEY},
        "size": 5,
    }


def test_a_letter_of_a_long_id_has_a_short_line_and_is_stored_under_its_own_id(stack: Stack) -> None:
    letter = bury(stack, GOOD, 1, "x" * 20_000)
    line = run(stack, "list").lines[0]
    assert len(line) < 200
    assert json.loads("\n".join(run(stack, "list", "--json").lines))[0]["headers"] is None
    assert f"  Nats-Msg-Id: {'x' * 20_000}" in run(stack, "show", letter).lines
    kept = run(stack, "replay", letter)
    assert kept.status == 1
    assert kept.lines[0].startswith(f"Kept {letter}: id: 20000 bytes, more than 2048: 'xxx")
    assert len(kept.lines[0]) < 200
    done = run(stack, "replay", letter, "--own-id")
    assert (done.status, done.lines[0]) == (0, f"Stored: {letter} (was {letter})")
    assert everything(stack) == [[letter], []]


def test_where_there_are_none_it_says_so(stack: Stack) -> None:
    assert run(stack, "list") == Done(0, ["0 dead letters"])
    assert run(stack, "list", "--json") == Done(0, ["[]"])


async def test_nothing_that_a_publisher_wrote_is_obeyed_by_the_terminal(stack: Stack, publisher: Client) -> None:
    stack.api_stub()
    for body in (b"\x1b[2J\x07", b'{"event":"\\u001b[31m\\u202e"}', '{"event":"\u202e"}'.encode()):
        await publisher.publish("crypto.updates", body, headers={"x": "\x1b]0;title\x07\x9b"})
    assert await soon(lambda: stack.dead_letters.count_documents({}) == 3)
    stack.events.insert_one(document(delivery(GOOD, key="\x1b[2J"), datetime.now(UTC)))
    bury(stack, GOOD.replace(b"1.0", b"2.0"), 9, "\x1b[2J")
    letters = everything(stack)[1]
    shown = [run(stack, "list").lines, *(run(stack, "show", letter).lines for letter in letters)]
    shown += [run(stack, "replay", *letters).lines, run(stack, "list", "--json").lines]
    assert all(char.isprintable() for lines in shown for line in lines for char in line)
    assert any("another event is stored as \ufffd[2J" in line for lines in shown for line in lines)
    plain = run(stack, "show", letters[0], PYTHONIOENCODING="ascii")
    assert (plain.status, "  x: \\ufffd]0;title\\ufffd\\ufffd" in plain.lines) == (0, True)


def command(stack: Stack, mongo_url: str, *arguments: str) -> dict[str, Any]:
    """The options for subprocess to run it with a stdin."""
    environ = os.environ | {"MONGO_URL": mongo_url, "MONGO_DB": stack.events.database.name, "PYTHONPATH": str(ROOT)}
    return {"args": [sys.executable, "-m", "stack", "dead-letters", *arguments], "env": environ}


def test_a_body_is_corrected_by_a_pipe(stack: Stack, mongo_url: str, tmp_path: Path) -> None:
    letter = bury(stack, b"\xff" + BAD)
    raw = subprocess.run(
        **command(stack, mongo_url, "show", letter, "--raw"), cwd=tmp_path, capture_output=True, check=True
    )
    assert raw.stdout == b"\xff" + BAD
    fixed = raw.stdout[1:].replace(b"soon", b"2023-11-21T14:30:00Z")
    replayed = command(stack, mongo_url, "replay", letter, "--body", "-")
    assert subprocess.run(**replayed, cwd=tmp_path, input=fixed, check=True, timeout=30).returncode == 0
    assert everything(stack) == [[KEY], []]


def at_terminal(typed: bytes, cwd: Path, **options: Any) -> tuple[int, bytes]:  # noqa: ANN401 - those of Popen
    """The exit status, and what the terminal shows."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(**options, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd)
    os.close(theirs)
    os.write(ours, typed)
    status = process.wait()
    shown = b""
    deadline = time.monotonic() + 5
    try:
        while time.monotonic() < deadline and (piece := os.read(ours, 65_536)):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return status, shown


@pytest.mark.parametrize(("typed", "status"), [(b"y\n", 0), (b"n\n", 1), (b"\n", 1), (b"\x04", 1)])
def test_discarding_is_asked_for_at_a_terminal(
    stack: Stack, mongo_url: str, tmp_path: Path, typed: bytes, status: int
) -> None:
    bury(stack, BAD, 1)
    bury(stack, BAD, 2)
    ended, shown = at_terminal(typed, tmp_path, **command(stack, mongo_url, "discard", "--all"))
    assert (ended, stack.dead_letters.count_documents({})) == (status, 2 * status)
    assert b"Discard 2 dead letters for good? [y/N]" in shown


def test_discarding_without_a_terminal_needs_yes(stack: Stack, mongo_url: str, tmp_path: Path) -> None:
    one, two = bury(stack, BAD, 1), bury(stack, BAD, 2)
    piped = subprocess.run(**command(stack, mongo_url, "discard", one), cwd=tmp_path, input=b"y\n", check=False)
    assert piped.returncode == 1
    assert everything(stack)[1] == [one, two]
    assert run(stack, "discard", one, "--yes") == Done(0, ["1 dead letter discarded"])
    assert everything(stack)[1] == [two]
    assert run(stack, "discard", "--all", "--yes").status == 0
    assert everything(stack) == [[], []]


def test_raw_bytes_are_not_written_to_a_terminal(stack: Stack, mongo_url: str, tmp_path: Path) -> None:
    letter = bury(stack, b"\x1b[2J")
    status, shown = at_terminal(b"", tmp_path, **command(stack, mongo_url, "show", letter, "--raw"))
    assert (status, b"\x1b" in shown) == (1, False)


@pytest.mark.parametrize("body", [BAD, BAD + b"\n"])
def test_raw_text_ends_with_a_newline_on_a_terminal(stack: Stack, mongo_url: str, tmp_path: Path, body: bytes) -> None:
    letter = bury(stack, body)
    shown = at_terminal(b"", tmp_path, **command(stack, mongo_url, "show", letter, "--raw"))
    assert shown == (0, BAD + b"\r\n")  # a terminal shows a newline so


@pytest.mark.parametrize(
    "arguments",
    [
        *([], ["nonsense"], ["show"], ["replay"], ["replay", "x", "--all"], ["discard"], ["discard", "--yes"]),
        *(["list", "--limit", "0"], ["list", "--limit", "x"], ["replay", "--all", "--body", "/dev/null"]),
        *(["replay", "a", "b", "--body", "/dev/null"], ["replay", "a", "--body", "/nowhere/to/be/found"]),
    ],
)
def test_bad_use_is_told(stack: Stack, arguments: list[str]) -> None:
    done = run(stack, *arguments)
    assert done.status == 2
    assert "error: " in done.lines[-1]


@pytest.mark.parametrize("arguments", [["list"], ["show", "x"], ["replay", "x"], ["discard", "--all", "--yes"]])
def test_without_mongodb_it_says_so_in_time(stack: Stack, arguments: list[str]) -> None:
    begin = time.monotonic()
    done = run(stack, *arguments, MONGO_URL=f"mongodb://someone:s3cret@127.0.0.1:{ports.free()}")
    assert done.status == 3
    assert time.monotonic() - begin < 15
    assert "verify that MongoDB is running (docker ps), and MONGO_URL" in done.lines[-1]
    assert "s3cret" not in "".join(done.lines)
