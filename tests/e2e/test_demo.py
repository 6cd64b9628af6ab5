"""`crypto-updates demo` and `dev`, run as a person runs them."""

import json
import os
import re
import shutil
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crypto_updates.harness.plugin import Service
from crypto_updates.local import binaries, ports
from crypto_updates.local.process import Process
from tests.support import ROOT, eventually, processes

# The demo starts a mongod of its own. Where none can run, this fixture finds out, and the test is skipped.
pytestmark = pytest.mark.usefixtures("mongod")
Starter = Callable[..., Process]


def family(pid: int) -> set[int]:
    """The process and all that descend from it."""
    parents = processes()
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def page(demo: Process) -> str:
    ready = re.search(r"http://\S+", demo.wait_for_line("Ready after", timeout=30))
    assert ready is not None
    return ready[0]


def events(address: str, limit: int = 100) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{address}/events?limit={limit}", timeout=30) as answer:  # noqa: S310 - it is http
        found: list[dict[str, Any]] = json.load(answer)["events"]
        return found


@pytest.fixture
def demo(service: Service, folder: Path) -> Starter:
    def start(*arguments: str, **environ: str) -> Process:
        return service("stack", "demo", *arguments, TMPDIR=str(folder), **environ)

    return start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo's own folder goes."""
    path = tmp_path / "temporary"
    path.mkdir()
    return path


def at_work(process: Process, folder: Path) -> set[int]:
    """The processes of a demo that has stored an event: itself, its guardian, two servers, two services."""
    process.wait_for_line("[EVENT] Stored", timeout=30)
    members = family(process.pid)
    assert len(members) >= 6
    assert len(list(folder.iterdir())) == 1
    return members


def left(members: set[int], folder: Path) -> list[object]:
    return [*(members & processes().keys()), *folder.iterdir()]


def test_an_event_is_stored_within_ten_seconds_of_the_servers_start(demo: Starter) -> None:
    process = demo()
    process.wait_for_line("Starting nats-server")
    begin = time.monotonic()
    address = page(process)
    assert process.wait_for_line("To check it: ").endswith(" MARKET_SOURCE=simulated make verify")
    assert eventually(lambda: bool(events(address)))
    assert time.monotonic() - begin < 10
    assert events(address)[0]["source"] == "simulated"


def test_it_works_on_a_disk_with_little_room(demo: Starter, tmp_path: Path) -> None:
    """nats-server takes three quarters of the free disk at most. A wrapper says how much that is here."""
    config = "s/sync_interval: always/sync_interval: always, max_file_store: 1GB/"
    wrapper = tmp_path / "bin" / "nats-server"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nsed -i "{config}" "$2"\nexec "{binaries.find("nats-server")}" "$@"\n')
    wrapper.chmod(0o755)
    running = demo(PATH=f"{wrapper.parent}{os.pathsep}{os.environ['PATH']}")
    assert eventually(lambda: events(page(running)) != [])


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_in_order_and_leaves_nothing(demo: Starter, folder: Path, sig: signal.Signals) -> None:
    process = demo()
    members = at_work(process, folder)
    os.killpg(process.pid, sig)
    assert process.wait() == 0
    assert left(members, folder) == []


def test_impatience_changes_nothing(demo: Starter, folder: Path) -> None:
    process = demo()
    members = at_work(process, folder)
    process.kill(signal.SIGINT)
    process.wait_for_line("Stopping")
    process.kill(signal.SIGINT)
    process.kill(signal.SIGTERM)
    assert process.wait() == 0
    assert left(members, folder) == []


def test_a_signal_while_it_starts_leaves_nothing(demo: Starter, folder: Path) -> None:
    process = demo()
    assert eventually(lambda: len(family(process.pid)) >= 3)
    members = family(process.pid)
    process.kill(signal.SIGINT)
    assert process.wait() == 0
    assert left(members, folder) == []


def test_sigkill_leaves_nothing(demo: Starter, folder: Path) -> None:
    process = demo()
    members = at_work(process, folder)
    process.kill()
    assert eventually(lambda: left(members, folder) == [])


def test_sigkill_of_its_parent_leaves_nothing(tmp_path: Path, folder: Path) -> None:
    command = f"'{sys.executable}' -m stack demo & wait"
    environ = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    make = Process(["/bin/sh", "-c", command], env=environ, cwd=tmp_path)
    members = at_work(make, folder)
    make.kill()
    assert eventually(lambda: left(members, folder) == [])
    make.wait_for_line("Stopping")


def test_it_stops_and_fails_when_a_service_fails(demo: Starter, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        process = demo(HTTP_PORT=str(other.getsockname()[1]))
        members = family(process.pid)
        assert process.wait() == 1
    assert re.search(r"api_stub. \(ended with status 1\): stopping the rest", "\n".join(process.lines))
    assert left(members, folder) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        (["--every", "nonsense"], {}, ["argument --every: 'nonsense': 5 fields expected"]),
        (["--http-port", "0"], {}, ["argument --http-port: '0': accepted: a port from 1 to 65535"]),
        (["--nats-port", "65536"], {}, ["argument --nats-port: '65536': accepted: "]),
        (["--mongo-port", "x"], {}, ["argument --mongo-port: 'x': accepted: "]),
        (["--detach", "--stop"], {}, ["not allowed with argument"]),
        ([], {"SCHEDULE": "x", "HTTP_PORT": "y", "COINS": ","}, ["SCHEDULE=x: ", "HTTP_PORT=y: ", "COINS=,: "]),
    ],
)
def test_bad_values_are_told_before_anything_starts(
    demo: Starter, folder: Path, arguments: list[str], environ: dict[str, str], told: list[str]
) -> None:
    process = demo(*arguments, **environ)
    assert process.wait() == 2
    output = "\n".join(process.lines)
    assert [text for text in told if output.count(text) != 1] == []
    assert "Starting" not in output
    assert list(folder.iterdir()) == []


def test_it_heeds_env_but_for_what_leads_to_servers_of_ones_own(demo: Starter, tmp_path: Path) -> None:
    port = ports.free()
    own = ("MONGO_URL_FILE=x", "MONGO_READER_URL=mongodb://own", "NATS_API_PREFIX=STORE.API", "STREAM_REPLICAS=3")
    lines = [f"HTTP_PORT={port}", "HTTP_HOST=::1", "SCHEDULE=* * * * * *", "NATS_URL=nats://own", *own]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    process = demo()
    assert page(process) == f"http://[::1]:{port}"
    assert eventually(lambda: len(events(page(process))) >= 2)


def test_it_stops_when_nobody_reads_its_output(tmp_path: Path, folder: Path) -> None:
    command = f"'{sys.executable}' -m stack demo | head -n 4"
    environ = os.environ | {"PYTHONPATH": str(ROOT), "TMPDIR": str(folder)}
    reader = Process(["/bin/sh", "-c", command], env=environ, cwd=tmp_path)
    assert reader.wait() == 0
    assert len(reader.lines) == 4
    assert list(folder.iterdir()) == []


def test_it_keeps_the_data_in_a_folder_that_it_shares_with_no_other_demo(demo: Starter, tmp_path: Path) -> None:
    data = ["--data", str(tmp_path / "kept")]
    first = demo(*data)
    first.wait_for_line("[EVENT] Stored", timeout=30)
    second = demo(*data)
    assert second.wait() == 1
    assert "Starting nats-server" not in "\n".join(second.lines)
    kept = {event["timestamp"] for event in events(page(first))}
    assert first.stop(patience=25) == 0
    again = demo(*data, SCHEDULE="0 0 1 1 *", MISSED_SLOTS="none")
    assert kept <= {event["timestamp"] for event in events(page(again))}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the project where the services are run from."""
    for package in ("crypto_updates", "worker", "api_stub", "stack"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.fixture
def dev(tree: Path, nats_url: str, mongo_url: str) -> Iterator[Process]:
    """`stack dev` of that copy."""
    own = {"PYTHONPATH": str(tree), "PYTHONUNBUFFERED": "1", "NATS_URL": nats_url, "MONGO_URL": mongo_url}
    process = Process([sys.executable, "-m", "stack", "dev"], env=os.environ | own, cwd=tree)
    yield process
    process.stop(25)
    print(*process.lines, sep="\n")  # noqa: T201 - pytest shows it if the test failed


def count(process: Process, text: str) -> int:
    return sum(text in line for line in process.lines)


def test_dev_restarts_the_service_whose_file_has_changed(dev: Process, tree: Path) -> None:
    dev.wait_for_line("[CRON] Scheduled", timeout=30)
    dev.wait_for_line("[HTTP] Listening", timeout=30)
    assert count(dev, "Starting") == 0
    (tree / "worker" / "tick.py").touch()
    assert eventually(lambda: count(dev, "[CRON] Scheduled") == 2)
    assert count(dev, "[HTTP] Listening") == 1
    (tree / ".env").write_text("SCHEDULE='*/7 * * * * *'\n", encoding="utf-8")
    assert eventually(lambda: count(dev, "[CRON] Scheduled") == 3 and count(dev, "[HTTP] Listening") == 2)
    assert count(dev, "(*/7 * * * * *)") == 1


def test_dev_shows_a_syntax_error_and_waits_for_the_next_change(dev: Process, tree: Path) -> None:
    dev.wait_for_line("[CRON] Scheduled", timeout=30)
    source = tree / "worker" / "tick.py"
    right = source.read_text(encoding="utf-8")
    source.write_text("def", encoding="utf-8")
    dev.wait_for_line("SyntaxError", timeout=30)
    dev.wait_for_line("waiting for a change", timeout=30)
    source.write_text(right, encoding="utf-8")
    assert eventually(lambda: count(dev, "[CRON] Scheduled") == 2)
    assert count(dev, "waiting for a change") == 1
    assert dev.stop(patience=25) == 0
