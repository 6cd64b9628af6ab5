"""The servers of examples/, and what their own tests do not try. Those of examples/python run with all the others."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

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


def commands(job: str) -> list[str]:
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


@pytest.mark.usefixtures("mongod")  # it is skipped where no mongod can run
def test_the_tests_of_the_server_in_node_pass_as_the_workflow_runs_them(tmp_path: Path) -> None:
    script = tmp_path / "crypto-updates"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m crypto_updates "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    environ = os.environ | node.path() | {"PYTHONPATH": str(ROOT)}
    environ["PATH"] = os.pathsep.join([str(tmp_path), environ["PATH"]])
    (command,) = (command for command in commands("node") if "harness" in command)
    harness = Process(["sh", "-c", command], cwd=node.install(EXAMPLES / "node"), env=environ)
    assert harness.wait(120) == 0, "\n".join(harness.lines)
    assert any(line.endswith("tests 5") for line in harness.lines)


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


def test_a_server_that_has_lost_nats_ends_in_order(crypto: Crypto, start: Callable[..., App]) -> None:
    app = start(ready="/health")
    crypto.nats.kill()
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
