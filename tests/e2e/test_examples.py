"""The servers of examples/, and what their own tests do not try. Those of examples/python run with all the others."""

import os
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from crypto_updates.harness.app import App, AppError
from crypto_updates.harness.condition import eventually
from crypto_updates.harness.crypto import Crypto
from crypto_updates.local.process import Process
from tests import node
from tests.support import HANG_SECONDS, ROOT

EXAMPLES = ROOT / "examples"
COMMANDS = {"node": ("node", "server.js"), "python": (sys.executable, "server.py")}
WORKFLOW = yaml.safe_load((EXAMPLES / "workflow.yml").read_text(encoding="utf-8"))


@pytest.fixture
def runner(tmp_path: Path) -> Callable[[str, str], Process]:
    """Runs a command of a job in a copy of its example, as after the job's installations."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, command in {
        "crypto-updates": f'"{sys.executable}" -m crypto_updates',
        "python": f'"{sys.executable}"',
    }.items():
        (programs / name).write_text(f'#!/bin/sh\nexec {command} "$@"\n', encoding="utf-8")
        (programs / name).chmod(0o755)
    environ = os.environ | node.path() | {"PYTHONPATH": str(ROOT)}
    environ["PATH"] = os.pathsep.join([str(programs), environ["PATH"]])

    def run(job: str, command: str) -> Process:
        folder = tmp_path / job
        if not folder.exists():
            shutil.copytree(EXAMPLES / job, folder, ignore=shutil.ignore_patterns("node_modules"))
            (folder / ".venv").mkdir()
            (folder / ".venv" / "bin").symlink_to(programs)
            if job == "node":
                (folder / "node_modules").symlink_to(node.install(EXAMPLES / job) / "node_modules")
        return Process(["sh", "-c", command], cwd=folder, env=environ)

    return run


@pytest.mark.usefixtures("mongod")  # it is skipped where no mongod can run
@pytest.mark.parametrize("job", COMMANDS)
def test_the_workflow_runs_and_judges_a_server(runner: Callable[[str, str], Process], job: str, tmp_path: Path) -> None:
    steps = [step.get("run", "") for step in WORKFLOW["jobs"][job]["steps"]]
    commands = [step for step in steps if "crypto-updates " in step]
    for command in commands:
        # The whole list has a test of its own.
        process = runner(job, command.replace("--quick", "--quick --only restart"))
        assert process.wait(150) == 0, "\n".join(process.lines)
        assert "--exec" not in command or any(line.endswith("tests 5") for line in process.lines)
    assert len(commands) == (2 if job == "node" else 1)
    assert ET.parse(tmp_path / job / "verdict.xml").getroot()[0].get("tests") == "1"  # noqa: S314 - our own


@pytest.fixture(params=COMMANDS)
def start(request: pytest.FixtureRequest, crypto: Crypto) -> Callable[..., App]:
    """Starts the server of an example, with options of `crypto.app`."""
    folder, environ = EXAMPLES / request.param, node.path()
    if request.param == "node":
        node.install(folder)

    def start(env: dict[str, str] | None = None, **options: str | None) -> App:
        return crypto.app(*COMMANDS[request.param], cwd=folder, env=environ | (env or {}), **options)  # type: ignore[arg-type]  # a text or None, as they are

    return start


def test_a_server_that_has_never_seen_nats_ends_in_order(crypto: Crypto, start: Callable[..., App]) -> None:
    crypto.nats.kill()
    app = start(subscribes=None)
    eventually(lambda: app.get("/health"), HANG_SECONDS)
    assert app.stop() == 0


@pytest.mark.parametrize("fault", ["kill", "freeze"])
def test_a_server_without_nats_ends_in_order(crypto: Crypto, start: Callable[..., App], fault: str) -> None:
    app = start(ready="/health")
    getattr(crypto.nats, fault)()
    assert app.stop() == 0


def test_a_port_that_is_taken_ends_the_server_and_is_told(start: Callable[..., App]) -> None:
    with (
        socket.create_server(("", 0)) as taken,
        pytest.raises(AppError, match=r"EADDRINUSE|address already in use"),
    ):
        start({"PORT": str(taken.getsockname()[1])}, ready="/health")


def test_an_address_of_nats_that_is_none_ends_the_server(start: Callable[..., App]) -> None:
    with pytest.raises(AppError, match=r"status 1\b"):
        start({"NATS_URL": "nats://127.0.0.1:port"}, subscribes=None, ready="/nowhere")
