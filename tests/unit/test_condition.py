"""What failed last is in the message."""

import re
from collections.abc import Callable, Iterator

import pytest

from crypto_updates.harness.condition import eventually, never


def each(*answers: object) -> Callable[[], object]:
    """A check that gives each answer once, or raises it, and the last one for ever."""
    given: Iterator[object] = iter(answers[:-1])

    def check() -> object:
        answer = next(given, answers[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer

    return check


def test_eventually_returns_the_first_true_answer() -> None:
    assert eventually(each(0, ConnectionError("down"), AssertionError("not yet"), 3, 4)) == 3


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (0, "the last answer was 0"),
        (ConnectionRefusedError("111"), "ConnectionRefusedError: 111"),
        (AssertionError("assert 1 == 2"), "AssertionError: assert 1 == 2"),
    ],
)
def test_eventually_tells_what_failed_last(last: object, told: str) -> None:
    wanted = rf"^check \(.*{re.escape(__file__)}:\d+\) did not hold within 0.1 s: {told}$"
    with pytest.raises(AssertionError, match=wanted):
        eventually(each(OSError("first"), last), within=0.1)


def test_an_async_check_is_refused_since_its_coroutine_would_be_a_true_answer() -> None:
    async def check() -> bool:
        return False

    for wait in (eventually, never):
        with pytest.raises(TypeError, match="the check is async; accepted: a function"):
            wait(check)


def test_never_returns_when_there_was_no_true_answer() -> None:
    never(each(0, AssertionError(), None), during=0.1)


def test_never_tells_the_answer_at_once() -> None:
    with pytest.raises(AssertionError, match=r"held after 0\.\d+ s, and never should: the answer was \[1\]$"):
        never(each(None, [1]), during=60)


def test_never_does_not_take_an_error_for_an_answer() -> None:
    with pytest.raises(ConnectionRefusedError):
        never(each(ConnectionRefusedError()), during=60)
