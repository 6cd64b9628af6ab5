"""Faults drawn from a seed: SEED and SECONDS are read from the environment."""

import os

import pytest

from tests.chaos import plan
from tests.chaos.conftest import Survived
from tests.chaos.faults import FAULTS

SECONDS = float(os.environ.get("SECONDS", "150"))


@pytest.mark.timeout(4 * SECONDS + 300)
def test_a_mix_of_faults_loses_nothing(survived: Survived) -> None:
    survived(SECONDS, rate=100)


def test_the_same_seed_gives_the_same_plan_and_each_fault_a_turn() -> None:
    names = list(FAULTS)
    steps = plan.draw("7", names, 1000)
    assert steps == plan.draw("7", names, 1000)
    assert steps != plan.draw("8", names, 1000)
    assert {fault for step in steps for fault in step.faults} == set(names)
    assert 1000 <= sum(step.length for step in steps) < 1040
