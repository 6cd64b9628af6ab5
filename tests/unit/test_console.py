"""A signal stops a command, wherever in Python it arrives."""

import socket
import subprocess
import sys

import pytest

from tests.support import ROOT

# The signal arrives within a destructor, where Python drops what its handler raises.
COMMAND = """
import os, signal, sys, time
from stack import console

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)

def run(closing):
    closing.callback(print, "closed")
    Last()
    time.sleep(60)
    return 1

sys.exit(console.until_stopped(run))
"""


def test_a_signal_within_a_destructor_stops_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\nStopping ...\nclosed\n", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["0", "host:1"], "argument port: '0': accepted: a port from 1 to 65535"),
        (["1", "host:65536"], "argument HOST:PORT: '65536': accepted: a port from 1 to 65535"),
        (["1", "host"], "argument HOST:PORT: 'host': accepted: host:port"),
    ],
)
def test_a_port_that_is_none_is_told_as_an_argument(arguments: list[str], told: str) -> None:
    done = forward(*arguments)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"crypto-updates forward: error: {told}")


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("", 0)) as other:
        port = other.getsockname()[1]
        done = forward(str(port), "127.0.0.1:1")
    assert done.returncode == 1
    assert done.stderr.startswith(f"port {port}: ")
    assert "Traceback" not in done.stderr


def forward(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stack", "forward", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
