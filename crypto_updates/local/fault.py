from collections.abc import Callable
from contextlib import ExitStack


def until(end: Callable[[], object]) -> ExitStack:
    """What a fault that has begun returns: a `with` statement ends the fault, and without one it lasts."""
    fault = ExitStack()
    fault.callback(end)
    return fault
