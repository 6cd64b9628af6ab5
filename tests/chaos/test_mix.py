"""Faults drawn from a seed: SEED and SECONDS are read from the environment."""

import os
import secrets
from pathlib import Path

import pytest

from tests.chaos import plan
from tests.chaos.faults import FAULTS
from tests.chaos.run import Options, run

SECONDS = float(os.environ.get("SECONDS", "150"))


@pytest.mark.timeout(4 * SECONDS + 300)
def test_a_mix_of_faults_loses_nothing(tmp_path: Path) -> None:
    seed = os.environ.get("SEED") or secrets.token_hex(4)
    report = run(Options(seed, SECONDS, workers=2, stubs=2, rate=100), tmp_path)
    print(report)  # noqa: T201 - shown of a test that fails
    assert report.violations == []


def test_the_same_seed_gives_the_same_plan_and_each_fault_a_turn() -> None:
    names = list(FAULTS)
    steps = plan.draw("7", names, 1000)
    assert steps == plan.draw("7", names, 1000)
    assert steps != plan.draw("8", names, 1000)
    assert {fault for step in steps for fault in step.faults} == set(names)
    assert 1000 <= sum(step.length for step in steps) < 1040
