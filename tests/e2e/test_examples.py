"""The examples are as good as their own tests. Those of examples/python run with all the others."""

import os
import sys

import pytest

from crypto_updates.local.process import Process
from tests import node
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("mongod")  # it is skipped where no mongod can run


def test_the_tests_of_the_server_in_node_pass_in_the_harness() -> None:
    folder = node.install(ROOT / "examples" / "node")
    command = [sys.executable, "-m", "crypto_updates", "harness", "--exec", "npm test"]
    harness = Process(command, cwd=folder, env=os.environ | node.path() | {"PYTHONPATH": str(ROOT)})
    assert harness.wait(120) == 0, "\n".join(harness.lines)
    assert any(line.endswith("tests 5") for line in harness.lines)
