"""`crypto-updates harness`, run as a person, a script and a step of CI run it."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from crypto_updates.harness.answer import get
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from stack.__main__ import main
from tests import node
from tests.e2e.test_demo import family, left
from tests.support import ROOT, eventually

# The harness starts a mongod of its own. Where none can run, this fixture finds out, and the test is skipped.
pytestmark = pytest.mark.usefixtures("mongod")
NODE_TEST = Path(__file__).with_name("control.test.mjs")


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where the harness's own folders go."""
    path = tmp_path / "temporary"
    path.mkdir()
    return path


def test_a_test_in_node_uses_all_of_it(service: Service, temporary: Path) -> None:
    process = service("stack", "harness", "--exec", f"node --test '{NODE_TEST}'", TMPDIR=str(temporary), **node.path())
    assert process.wait(120) == 0
    output = "\n".join(process.lines)
    assert re.search(r"^\S pass 5$", output, re.MULTILINE), output  # before it, `#`, or from Node.js 23 on a sign
    assert list(temporary.iterdir()) == []


def test_the_exit_status_of_the_command_is_handed_on_and_all_is_stopped(service: Service, temporary: Path) -> None:
    process = service("stack", "harness", "--exec", "sleep 600 & echo $HARNESS_URL; exit 7", TMPDIR=str(temporary))
    process.wait_for_line("http://")
    members = family(process.pid)
    assert process.wait() == 7
    assert left(members, temporary) == []


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_first_and_leaves_nothing(
    service: Service, temporary: Path, sig: signal.Signals
) -> None:
    # The shell that the harness starts ends at once; what it runs, as a test runner does, takes care of the signal.
    command = """sh -c "trap 'sleep 0.3; echo ended; exit 0' TERM; echo begun; while true; do sleep 0.1; done"; true"""
    process = service("stack", "harness", "--exec", command, TMPDIR=str(temporary))
    process.wait_for_line("begun")
    members = family(process.pid)
    assert len(members) >= 5
    os.killpg(process.pid, sig)
    assert process.wait() == 130
    assert "ended" in process.lines
    assert left(members, temporary) == []


def test_a_port_that_is_taken_is_told(service: Service, temporary: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        process = service("stack", "harness", "--port", port, "--exec", "echo begun", TMPDIR=str(temporary))
        assert process.wait() == 1
    assert list(process.lines) == [f"--port {port}: Address already in use; accepted: a free port"]
    assert list(temporary.iterdir()) == []


def test_in_the_background_it_outlives_the_shell_until_it_is_stopped(tmp_path: Path, temporary: Path) -> None:
    environ = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-m", "stack", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=120, check=False
        )

    started = run("harness", "--detach")
    try:
        variables = dict(line.split("=", 1) for line in started.stdout.splitlines() if re.match(r"[A-Z_]+=", line))
        (log,) = temporary.glob("*/harness.log")
        assert started.stdout.splitlines()[-2:] == [f"Log: {log}", "To stop it: crypto-updates harness --stop"]
        environ["HARNESS_URL"] = variables["HARNESS_URL"]
        assert run("publish").stdout == "Published on crypto.updates: message 1 of the stream\n"
        second = run("harness", "--detach")
        assert (second.returncode, second.stderr[:31]) == (1, "A harness is running already: p")
        match = re.match(r"Process (\d+)\n", log.read_text(encoding="utf-8"))
        assert match
        members = family(int(match[1]))
    finally:
        stopped = run("harness", "--stop")
    assert stopped.stdout == f"Stopped process {match[1]}\n"
    assert left(members, temporary) == []
    assert run("harness", "--stop").stdout == "No harness runs in the background\n"


def test_a_market_stands_alone_and_moves(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    port = ports.free()
    process = service("stack", "market", "--port", str(port))
    monkeypatch.setenv("HARNESS_URL", process.wait_for_line("HARNESS_URL=").partition("=")[2])

    def price(coin: str) -> float:
        found = get(f"http://127.0.0.1:{port}/api/v3/simple/price?ids={coin}&vs_currencies=usd").json()[coin]["usd"]
        assert isinstance(found, float)
        return found

    assert main(["market", "set", "ethereum=1.5"]) == 0
    first = price("bitcoin")
    assert eventually(lambda: price("bitcoin") != first)
    assert price("ethereum") == 1.5
