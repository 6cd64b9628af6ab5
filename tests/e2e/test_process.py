"""Child processes, and the pytest plugin that hands them out."""

import contextlib
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from crypto_updates.harness.plugin import Service
from crypto_updates.local.errors import StackError
from crypto_updates.local.process import Process


class Ready(contextlib.AbstractContextManager[Process]):
    """A shell script that has written `ready`."""

    def __init__(self, script: str) -> None:
        self.process = Process(["/bin/sh", "-c", script])

    def __enter__(self) -> Process:
        self.process.wait_for_line("ready")
        return self.process

    def __exit__(self, *_: object) -> None:
        self.process.stop()


def test_it_forces_a_child_that_ignores_sigterm() -> None:
    with Ready("trap '' TERM; echo ready; while :; do sleep 1; done") as process:
        assert process.stop(patience=0.5) == -signal.SIGKILL


def test_it_stops_a_frozen_child() -> None:
    with Ready("trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done") as process:
        process.kill(signal.SIGSTOP)
        assert process.stop() == 3


def test_it_returns_the_line_that_was_waited_for() -> None:
    with Ready("echo ready; echo the 42nd line; sleep 60") as process:
        assert process.wait_for_line(re.compile(r"\d+nd")) == "the 42nd line"
        assert process.wait_for_line("ready") == "ready"


def test_it_says_at_once_that_a_process_ended_without_the_line() -> None:
    begin = time.monotonic()
    with Ready("echo ready; echo bad >&2; exit 7") as process:
        with pytest.raises(StackError, match=r"ended with status 7\) wrote no line with 'good'(.|\n)*bad"):
            process.wait_for_line("good", timeout=30)
        assert process.wait() == 7
    assert time.monotonic() - begin < 5


def test_the_plugin_runs_a_module_with_its_variables(service: Service, tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text("import os, sys; print(sys.argv[1], os.environ['COLOUR'])", encoding="utf-8")
    environ = {"COLOUR": "blue", "PYTHONPATH": str(tmp_path)}
    assert service("child", "seen", **environ).wait_for_line("seen") == "seen blue"


def test_the_plugin_serves_both_urls(nats_url: str, mongo_url: str) -> None:
    for url in (nats_url, mongo_url):
        host, port = url.split("//")[1].split(":")
        socket.create_connection((host, int(port)), timeout=5).close()
