"""`crypto-updates demo --detach` and `--stop`, run as a step of CI runs them."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from crypto_updates.local import binaries, ports
from tests.e2e.test_demo import events, family, left
from tests.support import ROOT, eventually

pytestmark = pytest.mark.usefixtures("mongod")
Done = subprocess.CompletedProcess[str]
Demo = Callable[..., Done]
COMMAND = [sys.executable, "-m", "stack", "demo"]


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    path = tmp_path / "temporary"
    path.mkdir()
    return path


@pytest.fixture
def environ(temporary: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}


@pytest.fixture
def demo(tmp_path: Path, environ: dict[str, str]) -> Iterator[Demo]:
    """Runs the command to its end, from a shell that ends with it."""

    def run(*arguments: str) -> Done:
        command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", *COMMAND, *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
        )

    yield run
    run("--stop")
    run("--stop", "--data", "my dir")


def process(log: Path) -> int:
    match = re.match(r"Process (\d+)\n", log.read_text(encoding="utf-8"))
    assert match
    return int(match[1])


@pytest.mark.parametrize("data", [[], ["--data", "my dir"]], ids=["temporary", "kept"])
def test_it_outlives_the_shell_and_is_stopped_without_a_trace(
    demo: Demo, tmp_path: Path, temporary: Path, data: list[str]
) -> None:
    fixed = {name: ports.free() for name in ("nats", "mongo", "http")}
    options = [f"--{name}-port={port}" for name, port in fixed.items()]
    started = demo("--detach", *options, *data)
    page = f"http://127.0.0.1:{fixed['http']}"
    (log,) = [tmp_path / "my dir" / "demo.log"] if data else temporary.glob("*/demo.log")
    where = f" --data '{tmp_path}/my dir'" if data else ""
    (harness,) = re.findall(r"^HARNESS_URL=http://127\.0\.0\.1:\d+$", started.stdout, re.MULTILINE)
    assert (started.returncode, started.stdout.splitlines()[1:]) == (
        0,
        [
            f"NATS_URL=nats://127.0.0.1:{fixed['nats']}",
            f"MONGO_URL=mongodb://127.0.0.1:{fixed['mongo']}",
            f"API_URL={page}",
            "SCHEDULE='*/5 * * * * *'",
            harness,
            f"Log: {log}",
            f"To stop it: crypto-updates demo --stop{where}",
        ],
    )
    assert re.fullmatch(rf"Ready after \d+\.\d s: {page}", started.stdout.splitlines()[0])
    pid = process(log)
    members = family(pid)
    assert len(members) >= 6
    assert eventually(lambda: bool(events(page)))

    second = demo("--detach", *data)
    assert (second.returncode, second.stdout) == (1, "")
    assert second.stderr.startswith(f"A demo is running already: process {pid}, log {log}. To stop it: ")

    assert demo("--stop", *data).stdout == f"Stopped process {pid}\n"
    assert left(members, temporary) == []
    assert demo("--stop", *data).stdout.startswith(f"No demo {'with' if data else 'without'} --data ")


@pytest.mark.parametrize("way", [[], ["--detach"]], ids=["foreground", "background"])
@pytest.mark.parametrize("name", ["nats", "mongo", "http"])
def test_a_fixed_port_that_is_taken_is_named_and_no_other_is_used(
    demo: Demo, temporary: Path, name: str, way: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        option, port = f"--{name}-port", str(other.getsockname()[1])
        done = demo(option, port, *way)
    told = f"{option} {port}: Address already in use; accepted: a free port\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)
    assert list(temporary.iterdir()) == []


def test_a_start_that_fails_halfway_shows_why(demo: Demo, temporary: Path) -> None:
    port = str(ports.free())
    done = demo("--detach", "--nats-port", port, "--mongo-port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.search(rf"^Starting mongod .*\nStarting nats-server .*\n127.0.0.1:{port}: .* in use", done.stderr)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_kills_the_command_while_it_waits_leaves_nothing(
    temporary: Path, environ: dict[str, str], tmp_path: Path, sig: signal.Signals
) -> None:
    # It waits for some seconds longer than the test needs until it sends the signal.
    server = tmp_path / "bin" / "nats-server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nsleep 5\nexec "{binaries.find("nats-server")}" "$@"\n')
    server.chmod(0o755)
    environ |= {"PATH": f"{server.parent}{os.pathsep}{os.environ['PATH']}"}
    with subprocess.Popen(
        [*COMMAND, "--detach"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as command:
        assert eventually(lambda: len(family(command.pid)) >= 4)
        members = family(command.pid)
        command.send_signal(sig)
        assert command.wait() != 0
    assert eventually(lambda: left(members, temporary) == [])


def test_the_process_of_an_old_log_is_not_stopped(demo: Demo, temporary: Path) -> None:
    (temporary / "crypto-updates-old").mkdir()
    with subprocess.Popen(["sleep", "60"]) as another:
        (temporary / "crypto-updates-old" / "demo.log").write_text(f"Process {another.pid}\n", encoding="utf-8")
        told = "No demo without --data runs in the background; --stop --data DIR stops the one there"
        assert demo("--stop").stdout == f"{told}\n"
        assert another.poll() is None
        another.kill()
