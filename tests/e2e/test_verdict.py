"""`crypto-updates check-server` on servers that are right, and on servers with one defect each."""

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.verdict import faults, ordinary, usual
from crypto_updates.harness.verdict.candidate import Candidate
from crypto_updates.harness.verdict.catalogue import ITEMS
from crypto_updates.harness.verdict.item import Outcome, Result
from crypto_updates.harness.verdict.judge import Judge
from crypto_updates.harness.verdict.lane import Lane
from crypto_updates.local import ports
from crypto_updates.local.errors import StackError
from tests import node
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("mongod")  # skipped where no mongod can run

NODE, PYTHON = ROOT / "examples" / "node", ROOT / "examples" / "python"
SERVERS = ROOT / "tests" / "servers"
# Each is judged by the whole list, at the same time as the others, since most of it is waiting.
WHOLE = {
    "the API stub": (ROOT, (sys.executable, "-P", "-m", "api_stub")),
    "examples/node": (NODE, ("node", "server.js")),
    "examples/python": (PYTHON, (sys.executable, "server.py")),
    "deaf": (SERVERS, ("node", "deaf.js")),
}
WITHOUT_MARKET = {item.name for item in ITEMS if item.name.startswith("market")}
NOT_JSON = {"invalid body: empty", "invalid body: not JSON"}
# More than one lane takes on at once.
MANY = "invalid body: null", "NATS down 3 s", "connection cut", "MongoDB down 5 s", "restart"
TRIGGER = ("--subject", "crypto.update", "--body", '{"trigger":"update"}')
# A server whose connection to NATS is held for half a second longer, by a process of its own.
SURVIVED = """
import os, socket, time
from urllib.parse import urlsplit
from pymongo import MongoClient

place, server = urlsplit(os.environ["NATS_URL"]), os.getpid()
connection = socket.create_connection((place.hostname, place.port))
if not os.fork():
    os.setsid()
    os.closerange(1, 3)
    while os.getppid() == server: time.sleep(0.01)
    time.sleep(0.5)
    os._exit(0)
stored = MongoClient(os.environ["MONGO_URL"]).get_default_database().stored
connection.sendall(b"CONNECT {}\\r\\nSUB crypto.updates 1\\r\\n")
for line in connection.makefile("rb"):
    if line.startswith(b"PING"): connection.sendall(b"PONG\\r\\n")
    if line.startswith(b"MSG"): stored.insert_one({})
"""

Items = list[dict[str, Any]]


def judge(logs: Path, folder: Path, command: tuple[str, ...], *options: str) -> Items:
    """The items. The logs of those that fail are kept in `logs`."""
    environ = {**os.environ, **node.path(), "PYTHONPATH": str(ROOT), "TMPDIR": str(logs)}
    check = [
        sys.executable,
        "-P",
        "-m",
        "stack",
        "check-server",
        "--json",
        "--cwd",
        str(folder),
        *options,
        "--",
        *command,
    ]
    done = subprocess.run(check, cwd=logs, env=environ, stdout=subprocess.PIPE, check=False)
    items: Items = json.loads(done.stdout)["items"]
    assert done.returncode == (1 if failed(items) else 0)
    return items


def failed(items: Items) -> dict[str, str]:
    return {item["name"]: item["seen"] for item in items if item["result"] == "fails"}


def skipped(items: Items) -> set[str]:
    return {item["name"] for item in items if item["result"] == "skipped"}


@pytest.mark.timeout(600)
def test_the_whole_list_holds_for_each_server_that_is_right(tmp_path: Path) -> None:
    node.install(NODE)
    with ThreadPoolExecutor(len(WHOLE)) as pool:
        judged = dict(zip(WHOLE, pool.map(lambda server: judge(tmp_path, *server), WHOLE.values()), strict=True))
    failures = {server: failed(items) for server, items in judged.items()}
    assert failures.pop("deaf").keys() == {"NATS down 25 s", "NATS down 60 s"}
    assert failures == {"the API stub": {}, "examples/node": {}, "examples/python": {}}
    assert {server: skipped(items) for server, items in judged.items() if skipped(items)} == {
        "the API stub": WITHOUT_MARKET
    }
    for items in judged.values():
        assert [item["name"] for item in items] == [item.name for item in ITEMS]


@pytest.mark.parametrize(
    ("server", "failing"),
    [
        ("brittle", NOT_JSON),
        ("mute", NOT_JSON),
        ("forgetful", {"a second copy"}),
        ("nervous", {"market answers 500"}),
        ("hasty", {"SIGTERM"}),
    ],
)
def test_a_defect_fails_at_exactly_the_items_that_name_it(server: str, failing: set[str], tmp_path: Path) -> None:
    node.install(NODE)
    items = judge(tmp_path, SERVERS, ("node", f"{server}.js"), "--quick")
    assert failed(items).keys() == failing, failed(items)
    assert skipped(items) == set()
    for item in items:
        if item["name"] in failing:
            assert item["advice"]
            assert (Path(item["seen"].rpartition("logs: ")[2]) / "server.log").read_text()


def judged_here(logs: Path, folder: Path, command: tuple[str, ...], item: str) -> Result:
    """Judged by one item, in this process, where a test can change how long the item waits."""
    candidate = Candidate(command, SUBJECT, folder, {**node.path(), "PYTHONPATH": str(ROOT)})
    (result,) = Judge(candidate, logs, lambda _: None).judge([found for found in ITEMS if found.name == item])
    return result


def test_a_server_behind_a_shell_that_keeps_the_signal_fails_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with `npm start`, and in a container: what the shell has started gets no SIGTERM, and ends with the shell."""
    node.install(NODE)
    monkeypatch.setattr(faults, "_HAND_SECONDS", 5)  # long enough for a signal that comes late
    result = judged_here(tmp_path, NODE, ("sh", "-c", "node server.js; true"), "SIGTERM")
    assert (result.outcome, "0 were done" in result.seen) == (Outcome.FAILS, True), result.seen


@pytest.mark.parametrize(("server", "stores"), [("careless", True), ("nervous", False)])
def test_what_is_stored_while_the_market_refuses_is_told(
    server: str,
    stores: bool,  # noqa: FBT001 - a case
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    node.install(NODE)
    monkeypatch.setattr(faults, "_BLINK_SECONDS", 5)  # long enough for a reaction that comes late
    result = judged_here(tmp_path, SERVERS, ("node", f"{server}.js"), "market answers 429")
    assert (result.outcome, result.seen.endswith("; it had reacted before")) == (Outcome.HOLDS, stores), result.seen


def test_a_server_with_a_trigger_of_its_own_is_judged_without_a_change_to_it(tmp_path: Path) -> None:
    node.install(SERVERS)
    items = judge(tmp_path, SERVERS, ("node", "trigger.js"), "--quick", *TRIGGER)
    assert failed(items) == {}
    assert skipped(items) == {"a second copy"}


@pytest.fixture
def usual_ports(monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """Of NATS and MongoDB: other ones than those that all tests on this machine share."""
    found = ports.free(), ports.free()
    monkeypatch.setattr(usual, "NATS_PORT", found[0])
    monkeypatch.setattr(usual, "MONGO_PORT", found[1])
    return found


class Api:
    """The API stub, judged in this process by some of the items. `threads`: one for each lane that had a result."""

    COMMAND = WHOLE["the API stub"][1]

    def __init__(
        self, folder: Path, probe: str | None = None, command: Sequence[str] = COMMAND, **environ: str
    ) -> None:
        variables = {"PYTHONPATH": str(ROOT), **environ}
        candidate = Candidate(command, SUBJECT, folder, variables, probe=probe)
        self.threads = set[threading.Thread]()
        self._judge = Judge(candidate, folder, lambda _: self.threads.add(threading.current_thread()))

    def outcomes(self, *names: str) -> dict[str, str]:
        results = self._judge.judge([item for item in ITEMS if item.name in names])
        return {result.name: result.outcome if result.outcome != "fails" else result.seen for result in results}


def test_a_server_with_addresses_in_its_code_is_found_at_the_usual_ports(
    tmp_path: Path, usual_ports: tuple[int, int]
) -> None:
    nats, mongo = (f"localhost:{port}" for port in usual_ports)
    api = Api(tmp_path, NATS_URL=f"nats://{nats}", MONGO_URL=f"mongodb://{mongo}/?directConnection=true")
    asked = "invalid body: null", "restart"
    assert api.outcomes(*asked) == dict.fromkeys(asked, Outcome.HOLDS)


def test_a_server_that_finds_another_program_at_the_usual_port_is_told_so(
    tmp_path: Path, usual_ports: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for patience in ("START_SECONDS", "_USUAL_SECONDS", "_MORE_SECONDS"):
        monkeypatch.setattr(ordinary, patience, 1)
    with socket.create_server(("127.0.0.1", usual_ports[0])):
        api = Api(tmp_path, NATS_URL="nats://localhost:1")
        (seen,) = set(api.outcomes("restart").values()) - {Outcome.SKIPPED}
    assert seen.startswith("not subscribed to crypto.updates 1 s after its start; ")
    assert seen.endswith(f"it is not connected to NATS; another program has the port {usual_ports[0]}")


@pytest.mark.usefixtures("usual_ports")
@pytest.mark.parametrize("is_late", [False, True])
def test_a_server_with_a_fixed_port_is_judged_by_one_item_after_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_late: bool
) -> None:
    command: Sequence[str] = Api.COMMAND
    if is_late:  # then it does not run any more when the second one is tried
        monkeypatch.setattr(ordinary, "START_SECONDS", 0)
        monkeypatch.setattr(ordinary, "_USUAL_SECONDS", 0)
        command = "sh", "-c", f"sleep 3; exec {shlex.join(command)}"
    api = Api(tmp_path, command=command, HTTP_PORT=str(ports.free()))
    found = api.outcomes(*MANY)
    late = {name: seen for name, seen in found.items() if seen.startswith("subscribed after")}
    assert len(late) == is_late
    assert {name: seen for name, seen in found.items() if name not in late} == dict.fromkeys(MANY, Outcome.HOLDS)
    assert api.threads == {threading.current_thread()}


def test_a_server_whose_last_connection_outlives_it_is_not_taken_for_subscribed(tmp_path: Path) -> None:
    """As when the link or nats-server notices the end late: a subscription of the last run reacts to nothing."""
    candidate = Candidate((sys.executable, "-c", SURVIVED), SUBJECT, tmp_path, {})
    (result,) = Judge(candidate, tmp_path, lambda _: None).judge([item for item in ITEMS if item.name == "restart"])
    assert result.outcome == Outcome.HOLDS, result.seen


def test_an_error_beside_the_server_ends_the_verdict_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Lane) -> bool:
        raise StackError("the disk is full")

    monkeypatch.setattr(Lane, "works", fail)
    with pytest.raises(StackError, match="the disk is full"):
        Api(tmp_path).outcomes(*MANY)


def test_a_url_is_watched_in_place_of_mongodb(tmp_path: Path) -> None:
    asked = (
        "reacts to an event",
        "200 events at once",
        "a second copy",
        "invalid body: null",
        "NATS down 3 s",
        "restart",
    )
    api = Api(tmp_path, probe="http://localhost:8080/events")
    assert api.outcomes(*asked) == dict.fromkeys(asked, Outcome.HOLDS)
