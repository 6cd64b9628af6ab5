"""The plan of `crypto-updates demo --faults`, and the words of a fault."""

from itertools import islice
from typing import cast

import pytest

from stack.faults import plan
from stack.faults.agenda import Agenda
from stack.faults.plan import Fault
from stack.faults.stage import Stage


def drawn(seed: str, count: int) -> list[Fault]:
    return list(islice(plan.draw(seed), count))


def test_a_seed_gives_the_same_plan_again_and_another_one_another() -> None:
    assert drawn("1", 50) == drawn("1", 50)
    assert drawn("1", 50) != drawn("2", 50)


def test_each_fault_comes_once_before_any_comes_twice() -> None:
    faults = [(fault.target, fault.kind) for fault in drawn("seed", 39)]
    assert [len(set(faults[start : start + 13])) for start in (0, 13, 26)] == [13, 13, 13]
    assert {target for target, _ in faults} == {"nats", "mongo", "link", "mongo_link", "market"}


def test_a_fault_of_a_plan_is_one_that_can_be_asked_for_and_ends_before_the_next() -> None:
    assert [fault for fault in drawn("seed", 200) if plan.of(*fault) != fault or fault.seconds > 15] == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (("nats", "down", 3), "nats-server killed; back in 3 s"),
        (("mongo", "freeze", 2.5), "mongod frozen; back in 2.5 s"),
        (("link", "hang"), "link to NATS hanging; back in 5 s"),
        (("mongo_link", "half_open", 10), "link to MongoDB half open; back in 10 s"),
        (("market", "down", 60), "market down; back in 60 s"),
    ],
)
def test_a_fault_says_what_is_broken_and_when_it_is_back(fault: tuple[str, str], words: str) -> None:
    assert str(plan.of(*fault)) == words


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (("worker", "down", 3), "'worker': accepted: nats, mongo, link, mongo_link, market"),
        (("nats", "cut", 3), "nats 'cut': accepted: down, freeze"),
        (("market", "slow", 3), "market 'slow': accepted: down"),
        (("nats", "down", 0), "0 seconds: accepted: more than 0, 60 at most"),
        (("nats", "down", 61), "61 seconds: accepted: more than 0, 60 at most"),
        (("nats", "down", float("nan")), "nan seconds: accepted: more than 0, 60 at most"),
    ],
)
def test_a_fault_that_does_not_exist_is_refused_with_what_is_accepted(fault: tuple[str, str, float], told: str) -> None:
    with pytest.raises(ValueError, match="accepted") as raised:
        plan.of(*fault)
    assert str(raised.value) == told


class Said:
    """A stage that only takes note of what it should do."""

    def __init__(self) -> None:
        self.done: list[Fault] = []

    def do(self, fault: Fault) -> None:
        self.done.append(fault)


def test_the_plan_has_its_turn_and_then_a_pause_in_which_a_fault_by_hand_is_done() -> None:
    stage, by_hand = Said(), plan.of("market", "down")
    agenda = Agenda(cast(Stage, stage), plan.draw("1"), every=0)
    agenda.step()
    agenda.step()
    assert stage.done == drawn("1", 1)
    over = agenda.ask(by_hand)
    agenda.step()
    assert stage.done[1:] == [by_hand]
    assert over.done()


def test_a_fault_that_nobody_waits_for_any_more_is_not_done() -> None:
    stage = Said()
    agenda = Agenda(cast(Stage, stage), iter(()), every=30)
    assert agenda.ask(plan.of("nats", "down")).cancel()
    agenda.step()
    assert stage.done == []
