"""A cluster of three nats-servers and a replica set of three mongods: its members are lost, and nothing else is.

SEED and SECONDS are read from the environment.
"""

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.chaos import loss, plan
from tests.chaos import run as rig
from tests.chaos.__main__ import arguments
from tests.chaos.conftest import Survived
from tests.chaos.loss import LOSSES
from tests.chaos.plan import Step

SECONDS = float(os.environ.get("SECONDS", "40"))


@pytest.mark.timeout(2 * SECONDS + 600)
def test_a_cluster_that_loses_members_and_is_restarted_loses_no_event(survived: Survived) -> None:
    assert {*survived(SECONDS, members=3, rate=60).faults} == {*loss.CLUSTER}


def test_the_same_seed_loses_the_same_members_and_one_of_each_kind_at_once() -> None:
    steps = plan.losses("7", list(LOSSES), 240)
    assert steps == plan.losses("7", list(LOSSES), 240)
    assert steps != plan.losses("8", list(LOSSES), 240)
    assert len(steps) == 240 / plan.EVERY
    assert {fault for step in steps for fault in step.faults} == set(LOSSES)
    assert {tuple(fault.split()[0] for fault in step.faults) for step in steps} == {
        ("nats", "mongod", "worker", "api_stub")
    }


@pytest.mark.parametrize("seconds", [1.0, 40.0])
def test_of_a_cluster_each_fault_comes_in_a_short_run_too_and_those_that_are_named_come_apart(seconds: float) -> None:
    assert {fault for step in plan.losses("7", list(LOSSES), seconds) for fault in step.faults} == {*LOSSES}
    steps = plan.losses("7", list(LOSSES), seconds, apart=True)
    assert sorted(step.faults for step in steps) == sorted((name,) for name in LOSSES)
    assert all(plan.LOST <= step.seconds < rig.ELECTION for step in steps)


class Watched:
    """A stage that has one member, and no event while that is lost, or one after a second."""

    def __init__(self, without: float | None) -> None:
        self.without, self.lost = without, False
        self.looks: list[tuple[bool, float]] = []

    def of(self, _: str) -> list["Watched"]:
        return [self]

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        self.lost = True
        yield
        self.lost = False

    def flows(self, within: float, *, everybody: bool = True) -> float | None:
        assert everybody is not self.lost
        self.looks.append((self.lost, within))
        return self.without if self.lost else 2.0


@pytest.mark.parametrize(
    ("election", "without", "found"),
    [
        (10.0, None, []),
        (10.0, 0.1, [0.1]),
        (0.0, None, [None]),
        (0.0, 1.0, [1.0]),
    ],
)
def test_that_events_go_on_is_seen_while_members_are_lost_and_only_a_short_loss_may_end_without_it(
    election: float, without: float | None, found: list[float | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rig, "ELECTION", election)
    stage = Watched(without)
    told = rig._without(stage, "7", 0, Step(0.0, ("worker killed",), 0.2))  # type: ignore[arg-type]
    assert [recovery.seconds for recovery in told] == [*found, 2.0]
    assert stage.looks == [(True, rig.FAILOVER if election == 0 else 0.2), (False, rig.PATIENCE)]


def given(monkeypatch: pytest.MonkeyPatch, *args: str) -> list[str]:
    monkeypatch.setattr("sys.argv", ["chaos", "--members", "3", *args])
    return list(arguments().fault)


def test_the_faults_of_a_cluster_are_named_one_by_one_or_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    others = ("--workers", "2", "--stubs", "2")
    assert given(monkeypatch, *others, "--fault", "nats leader killed") == ["nats leader killed"]
    assert given(monkeypatch, *others, "--fault", "each") == [*loss.CLUSTER]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--workers", "1", "--stubs", "2"), "--members 3: it loses one of each, so it needs --workers 2 and"),
        (("--workers", "2", "--stubs", "2", "--fault", "worker-nats cut"), "--fault 'worker-nats cut': not with"),
    ],
)
def test_what_a_cluster_cannot_do_is_refused(
    args: tuple[str, ...], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        given(monkeypatch, *args)
    assert told in capsys.readouterr().err
