"""A cluster of three nats-servers and a replica set of three mongods: its members are lost, and nothing else is.

SEED and SECONDS are read from the environment.
"""

import logging
import os
import secrets
from pathlib import Path

import pytest

from tests.chaos import plan
from tests.chaos.loss import LOSSES
from tests.chaos.run import Options, run

SECONDS = float(os.environ.get("SECONDS", "40"))


@pytest.mark.timeout(2 * SECONDS + 600)
def test_a_cluster_that_loses_members_and_is_restarted_loses_no_event(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)  # shows the plan of a test that fails
    options = Options(os.environ.get("SEED") or secrets.token_hex(4), SECONDS, workers=2, stubs=2, members=3, rate=60)
    print(options.command)  # noqa: T201 - shown of a test that fails, or hangs
    report = run(options, tmp_path)
    print(report)  # noqa: T201 - as above
    assert report.violations == []
    assert report.figures()["acknowledged events"] > 100
    assert report.slots > SECONDS / 2


def test_the_same_seed_loses_the_same_members_and_one_of_each_kind_at_once() -> None:
    steps = plan.losses("7", list(LOSSES), 240)
    assert steps == plan.losses("7", list(LOSSES), 240)
    assert steps != plan.losses("8", list(LOSSES), 240)
    assert len(steps) == 240 / plan.EVERY
    assert {fault for step in steps for fault in step.faults} == set(LOSSES)
    assert {tuple(fault.split()[0] for fault in step.faults) for step in steps} == {
        ("nats", "mongod", "worker", "api_stub")
    }
