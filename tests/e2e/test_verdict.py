"""`crypto-updates check-server` on servers that are right, and on servers with one defect each."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.verdict import usual
from crypto_updates.harness.verdict.candidate import Candidate
from crypto_updates.harness.verdict.catalogue import ITEMS
from crypto_updates.harness.verdict.item import Outcome
from crypto_updates.harness.verdict.judge import Judge
from crypto_updates.local import ports
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
TRIGGER = ("--subject", "crypto.update", "--body", '{"trigger":"update"}')

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


def test_a_server_with_a_trigger_of_its_own_is_judged_without_a_change_to_it(tmp_path: Path) -> None:
    node.install(SERVERS)
    items = judge(tmp_path, SERVERS, ("node", "trigger.js"), "--quick", *TRIGGER)
    assert failed(items) == {}
    assert skipped(items) == {"a second copy"}


def test_a_server_with_addresses_in_its_code_is_found_at_the_usual_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nats_port, mongo_port = ports.free(), ports.free()  # other tests may want the real ones
    monkeypatch.setattr(usual, "_NATS_PORT", nats_port)
    monkeypatch.setattr(usual, "_MONGO_PORT", mongo_port)
    fixed = {
        "PYTHONPATH": str(ROOT),
        "NATS_URL": f"nats://localhost:{nats_port}",
        "MONGO_URL": f"mongodb://localhost:{mongo_port}/?directConnection=true",
    }
    candidate = Candidate(WHOLE["the API stub"][1], SUBJECT, tmp_path, fixed)
    asked = [item for item in ITEMS if item.name in ("invalid body: null", "restart")]
    results = Judge(candidate, tmp_path, lambda _: None).judge(asked)
    assert [(result.name, result.outcome) for result in results] == [(item.name, Outcome.HOLDS) for item in asked]
