"""Faults drawn from a seed: SEED and SECONDS are read from the environment."""

import logging
import os
import secrets
from pathlib import Path

import pytest

from tests.chaos import plan
from tests.chaos.faults import FAULTS
from tests.chaos.run import Options, run

SECONDS = float(os.environ.get("SECONDS", "150"))


@pytest.mark.timeout(4 * SECONDS + 300)
def test_a_mix_of_faults_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)  # shows the plan of a test that fails
    options = Options(os.environ.get("SEED") or secrets.token_hex(4), SECONDS, workers=2, stubs=2, rate=100)
    print(options.command)  # noqa: T201 - shown of a test that fails, or hangs
    report = run(options, tmp_path)
    print(report)  # noqa: T201 - as above
    assert report.violations == []
    assert report.figures()["acknowledged events"] > 100
    assert report.slots > SECONDS / 2


def test_the_same_seed_gives_the_same_plan_and_each_fault_a_turn() -> None:
    names = list(FAULTS)
    steps = plan.draw("7", names, 1000)
    assert steps == plan.draw("7", names, 1000)
    assert steps != plan.draw("8", names, 1000)
    assert {fault for step in steps for fault in step.faults} == set(names)
    assert 1000 <= sum(step.length for step in steps) < 1040
