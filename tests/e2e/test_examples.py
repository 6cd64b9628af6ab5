"""The examples are as good as their own tests. Those of examples/python run with all the others."""

import os
import sys
from pathlib import Path

import pytest
import yaml

from crypto_updates.local.process import Process
from tests import node
from tests.support import ROOT

EXAMPLES = ROOT / "examples"
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
