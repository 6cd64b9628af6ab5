"""What is stored in MongoDB: its figures, and what is left of it without its times."""

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

Stored = Mapping[str, Sequence[Mapping[str, Any]]]
# A collection, and what of it is counted.
Figure = tuple[str, str]

_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d")
_DAY_SECONDS = 86_400
_UNITS = (1, 1000)  # seconds, milliseconds


def figures(stored: Stored) -> dict[Figure, float]:
    """For each collection, the number of documents, the sum of each numeric field, and the length of all lists."""
    found: Counter[Figure] = Counter()
    for collection, documents in stored.items():
        for path, value in _leaves("", documents):
            found[collection, path] += value
    return dict(found)


def growth(before: Mapping[Figure, float], after: Mapping[Figure, float]) -> dict[Figure, float]:
    return {figure: value - before.get(figure, 0) for figure, value in after.items()}


def _leaves(path: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _leaves(f"{path}.{name}", part)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield f"{path}[]", len(value)
        for part in value:
            yield from _leaves(f"{path}[]", part)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value


def timeless(value: Any) -> str:  # noqa: ANN401 - whatever was stored, or a URL answered
    """A text that is the same for two values that differ only in times, as of a `last_seen`, or in their order."""
    return json.dumps(_without_times(value), sort_keys=True, default=str)


def _without_times(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _without_times(part) for name, part in value.items() if not _is_time(part)}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return sorted(timeless(part) for part in value if not _is_time(part))
    return value


def _is_time(value: object) -> bool:
    if isinstance(value, str):
        return bool(_ISO_8601.match(value))
    if isinstance(value, int | float):
        return any(abs(value / unit - time.time()) < _DAY_SECONDS for unit in _UNITS)
    return isinstance(value, datetime)
