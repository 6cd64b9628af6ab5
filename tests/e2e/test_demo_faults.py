"""`crypto-updates fault`: a demo's fault by hand, from another terminal."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crypto_updates.harness.plugin import Service
from crypto_updates.local.process import Process
from tests.e2e.test_demo import Starter, at_work, demo, events, folder, left, page
from tests.support import eventually

__all__ = ["demo", "folder"]
pytestmark = pytest.mark.usefixtures("mongod")
# The path of a terminal in which the environment is not active.
OWN = str(Path(sys.executable).parent)
PATH = os.pathsep.join(folder for folder in os.environ["PATH"].split(os.pathsep) if folder != OWN)


@pytest.fixture
def running(demo: Starter) -> Process:
    process = demo("--every", "* * * * * *", PATH=PATH)
    process.wait_for_line("[EVENT] Stored")
    return process


def harness(process: Process) -> dict[str, str]:
    """The variable by which `fault` finds this demo, and not another one that runs on this machine."""
    (found,) = re.findall(r"HARNESS_URL=(\S+)", process.wait_for_line("HARNESS_URL"))
    return {"HARNESS_URL": found}


def test_a_fault_by_hand_is_told_and_ends_and_the_demo_goes_on(service: Service, running: Process) -> None:
    where, shown = harness(running), running.wait_for_line("To break a part: ").partition(": ")[2]
    own = os.environ | {"PATH": PATH}
    assert subprocess.run(shown, shell=True, env=own, timeout=60, check=False).returncode == 0  # noqa: S602 - as a user would
    running.wait_for_line(re.compile(r"^fault    \| nats-server is back after \d+\.\d s$"))
    for target, victim, done in (("market", "market", "down"), ("mongo", "mongod", "killed")):
        assert service("stack", "fault", target, "down", "3", **where).wait() == 0
        running.wait_for_line(f"fault    | {victim} {done}; back in 3 s")
        running.wait_for_line(re.compile(rf"^fault    \| {victim} is back after \d+\.\d s$"))
    refused = service("stack", "fault", "worker", "down", **where)
    assert refused.wait() == 1
    assert refused.lines[-1] == "target=worker: one of nats, mongo, link, mongo_link, market"
    assert eventually(lambda: {event.get("source") for event in events(page(running))} == {"simulated", None})


@pytest.mark.parametrize("fault", ["mongo freeze", "nats down"])
def test_ctrl_c_in_the_midst_of_a_fault_leaves_nothing(
    service: Service, running: Process, folder: Path, fault: str
) -> None:
    members = at_work(running, folder)
    service("stack", "fault", *fault.split(), "60", **harness(running))
    running.wait_for_line("back in 60 s")
    running.kill(signal.SIGINT)
    assert running.wait() == 0
    assert left(members, folder) == []
