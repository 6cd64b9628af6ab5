"""Wait until something holds, or make sure that it does not."""

import inspect
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_LOOK_SECONDS = 0.05


def outcome(check: Callable[[], T], within: float) -> T:
    """The first true answer of the check, or its last one when `within` seconds are over."""
    deadline = time.monotonic() + within
    while not (answer := _answered(check)) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return answer


def eventually(check: Callable[[], T], within: float = 10.0) -> T:
    """The first true answer of the check. An exception that it raises counts as "not yet".

    Raises AssertionError after `within` seconds, with what failed last.
    """
    last: list[Exception] = []

    def answer() -> T | None:
        last.clear()
        try:
            return check()
        except Exception as error:  # noqa: BLE001 - a server that is down, an assertion: all of them may pass
            last.append(error)
        return None

    if found := outcome(answer, within):
        return found
    why = f"{type(last[0]).__name__}: {last[0]}" if last else f"the last answer was {found!r}"
    raise AssertionError(f"{_name(check)} did not hold within {within:g} s: {why}") from next(iter(last), None)


def never(check: Callable[[], object], during: float = 1.0) -> None:
    """Return after `during` seconds in which the check gave no true answer. A failed assertion is none.

    Raises AssertionError at once when it does, with the answer, and whatever else the check raises.
    """
    begin = time.monotonic()

    def answer() -> object:
        try:
            return check()
        except AssertionError:
            return None

    if found := outcome(answer, during):
        after = time.monotonic() - begin
        raise AssertionError(f"{_name(check)} held after {after:.2f} s, and never should: the answer was {found!r}")


def _answered(check: Callable[[], T]) -> T:
    """Raises TypeError for an async function, whose coroutine would count as a true answer."""
    answer = check()
    if inspect.iscoroutine(answer):
        answer.close()
        raise TypeError("the check is async; accepted: a function that gives its answer at once")
    return answer


def _name(check: Callable[[], object]) -> str:
    code = getattr(check, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{getattr(check, '__name__', check)}{where}"
