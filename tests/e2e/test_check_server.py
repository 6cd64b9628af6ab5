"""`crypto-updates check-server` on the API stub, and on servers that cannot be judged."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from crypto_updates.harness.verdict.catalogue import ITEMS
from tests.support import ROOT, eventually, processes

# For a hang; the slowest verdict here takes half a minute on a quiet machine.
VERDICT_SECONDS = 150.0
API_STUB = (sys.executable, "-P", "-m", "api_stub")


def start(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    """`check-server` in an empty folder, which is where its temporary files are, too."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-P", "-m", "stack", "check-server", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=tmp_path, env=environ, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def test_the_verdict_is_alone_on_standard_output_and_in_a_file_for_ci(tmp_path: Path) -> None:
    report = tmp_path / "verdict.xml"
    only = ("--only", "body: null", "--only", "restart")
    process = start(tmp_path, *only, "--json", "--junit", str(report), "--", *API_STUB)
    out, progress = process.communicate(timeout=VERDICT_SECONDS)
    assert process.returncode == 0, out + progress
    items = json.loads(out)["items"]
    assert [(item["name"], item["result"]) for item in items] == [("invalid body: null", "holds"), ("restart", "holds")]
    assert len(progress.splitlines()) == 2
    assert ET.parse(report).getroot()[0].get("tests") == "2"  # noqa: S314 - our own
    assert list(tmp_path.iterdir()) == [report]


def test_a_server_that_cannot_be_started_is_told_in_its_own_words(tmp_path: Path) -> None:
    process = start(tmp_path, "--json", "--", "sh", "-c", "echo no such database; exit 3")
    out, told = process.communicate(timeout=VERDICT_SECONDS)
    assert (process.returncode, out) == (2, "")
    assert "no such database" in told


def test_a_server_on_another_subject_is_told_and_not_judged_further(tmp_path: Path) -> None:
    report = tmp_path / "verdict.xml"
    arguments = ("--quick", "--subject", "crypto.update", "--junit", str(report))
    process = start(tmp_path, *arguments, "--", *API_STUB)
    table, progress = process.communicate(timeout=VERDICT_SECONDS)
    assert process.returncode == 1, progress
    first, *others = ET.parse(report).getroot()[0]  # noqa: S314 - our own
    assert [[part.tag for part in case] for case in (first, *others)] == [["failure"], *[["skipped"]] * len(others)]
    seen = first[0].get("message", "")
    assert "not subscribed to crypto.update" in seen
    assert "--subject" in (first[0].text or "")
    untried = len(ITEMS) - len(others) - 1
    assert table.splitlines()[-1] == f"{untried} long items were not tried: without --quick they are"
    logs = Path(seen.rpartition("logs: ")[2])
    assert "[NATS] Connected" in (logs / "server.log").read_text()


# When the first server starts; when the API stub runs; when items run side by side.
@pytest.mark.parametrize("results", [0, 1, 3])
def test_a_stop_leaves_nothing_behind(tmp_path: Path, results: int) -> None:
    process = start(tmp_path, "--", *API_STUB)
    assert process.stderr
    for _ in range(results):
        process.stderr.readline()
    begun = eventually(lambda: descendants(process.pid))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=VERDICT_SECONDS)
    assert process.returncode == 130
    assert begun
    assert eventually(lambda: not begun & processes().keys())
    assert list(tmp_path.iterdir()) == []


def descendants(pid: int) -> set[int]:
    parents = processes()
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}
