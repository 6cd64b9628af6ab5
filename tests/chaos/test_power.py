"""The power goes, and comes back: what was acknowledged before is there after."""

import os
from pathlib import Path

import pytest

from tests.chaos import scenario
from tests.chaos.machine import Machine

# How many servers of a cluster lose their power, cut by cut.
CUTS = [int(lose) for lose in os.environ.get("CUTS", "1,2,3").split(",")]


def test_jetstream_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    assert scenario.jetstream(tmp_path, cuts=5) == []


@pytest.mark.timeout(60 * len(CUTS) + 120)
def test_a_stream_of_three_copies_keeps_what_it_acknowledged_when_servers_lose_their_power(tmp_path: Path) -> None:
    assert scenario.replicated(tmp_path, CUTS) == []


def test_mongodb_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    assert scenario.mongodb(tmp_path, cuts=5) == []


def test_the_outbox_keeps_what_was_added(tmp_path: Path) -> None:
    assert scenario.outbox(tmp_path, cuts=5) == []


@pytest.mark.parametrize("services", [False, True], ids=["the servers", "everything"])
def test_an_event_that_was_acknowledged_is_stored_once_when_the_power_of_all_goes(
    tmp_path: Path, *, services: bool
) -> None:
    with Machine(tmp_path) as machine:
        machine.start("api_stub")
        machine.start_workers("worker")
        with machine.load(rate=500):
            for _ in range(3):
                assert machine.acknowledges(200)
                machine.cut(services=services)
                assert machine.stores(1)
        assert machine.settle("the whole path, power cuts") == []
