"""A signal stops a command, wherever in Python it arrives."""

import subprocess
import sys

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
