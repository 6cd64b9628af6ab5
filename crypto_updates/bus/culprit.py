"""Where in a decoded body the value is that is at fault. Pure."""

from collections.abc import Callable, Iterable


def find(value: object, fault: Callable[[object], str | None], path: str = "") -> str | None:
    """Return the first fault with the place of its value, as `data[0].x: too large`; None if there is none.

    The value is nested no deeper than a decoder that recurses can read.
    """
    if problem := fault(value):
        return f"{path or 'body'}: {problem}"
    inner: Iterable[tuple[str, object]] = ()
    if isinstance(value, dict):
        inner = ((f"{path}.{key}" if path else str(key), child) for key, child in value.items())
    elif isinstance(value, list):
        inner = ((f"{path}[{index}]", child) for index, child in enumerate(value))
    return next((found for name, child in inner if (found := find(child, fault, name))), None)
