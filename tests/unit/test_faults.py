"""The plan of `crypto-updates demo --faults`, and the words of a fault."""

from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from typing import cast

import pytest

from crypto_updates.harness.control.server import serve
from stack.faults import plan, port
from stack.faults.agenda import Agenda
from stack.faults.plan import Fault
from stack.faults.stage import Stage
from tests.unit.test_control import ask


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
    names = plan.names()
    faults = drawn("seed", 200)
    assert [fault for fault in faults if fault.kind not in names[fault.target] or not 0 < fault.seconds <= 15] == []


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
def test_a_fault_says_what_is_broken_and_when_it_is_back(fault: tuple[str, str, float], words: str) -> None:
    assert str(Fault(*fault)) == words


@pytest.fixture
def asked() -> list[Fault]:
    """The faults that a control port asks for."""
    return []


@pytest.fixture
def url(asked: list[Fault]) -> Iterator[str]:
    def ask_for(fault: Fault) -> Future[None]:
        asked.append(fault)
        over = Future[None]()
        over.set_result(None)
        return over

    with serve("A demo", port.router(ask_for), port=0) as url:
        yield url


@pytest.mark.parametrize(
    ("target", "body", "told"),
    [
        ("worker", {"fault": "down"}, "404 target=worker: one of nats, mongo, link, mongo_link, market"),
        ("nats", {"fault": "cut"}, "422 fault=cut: one of down, freeze"),
        ("market", {"fault": "slow"}, "422 fault=slow: one of down"),
        ("nats", {"fault": "down", "seconds": 0}, "422 seconds=0: Input should be greater than 0"),
        ("nats", {"fault": "down", "seconds": 61}, "422 seconds=61: Input should be less than or equal to 60"),
        ("nats", {"fault": "down", "seconds": None}, "422 seconds=nothing: Input should be a valid number"),
        ("nats", '{"fault": "down", "seconds": NaN}', "422 seconds=nan: Input should be a finite number"),
        (
            "nats",
            {"fault": "down", "delay": 1},
            "422 delay=1: no such name here; /openapi.json has those that there are",
        ),
    ],
)
def test_a_fault_that_does_not_exist_is_refused_with_what_is_accepted(
    url: str, asked: list[Fault], target: str, body: object, told: str
) -> None:
    status, problem = ask(url, "POST", f"/faults/{target}", body)
    assert (f"{status} {problem['detail']}", asked) == (told, [])


def test_a_fault_by_hand_is_asked_for_with_its_seconds(url: str, asked: list[Fault]) -> None:
    assert ask(url, "POST", "/faults/nats", {"fault": "down", "seconds": 60}) == (204, None)
    assert ask(url, "POST", "/faults/market", {"fault": "down"}) == (204, None)
    assert asked == [Fault("nats", "down", 60), Fault("market", "down", 5)]
    _, document = ask(url, "GET", "/openapi.json")
    (target,) = document["paths"]["/faults/{target}"]["post"]["parameters"]
    assert target["schema"]["enum"] == list(plan.names())


class Said:
    """A stage that only takes note of what it should do."""

    def __init__(self) -> None:
        self.done: list[Fault] = []

    def do(self, fault: Fault) -> None:
        self.done.append(fault)


def test_the_plan_has_its_turn_and_then_a_pause_in_which_a_fault_by_hand_is_done() -> None:
    stage, by_hand = Said(), Fault("market", "down")
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
    assert agenda.ask(Fault("nats", "down")).cancel()
    agenda.step()
    assert stage.done == []
