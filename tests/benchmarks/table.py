"""Tables of Markdown."""

from typing import Any

Figures = dict[str, Any]
Row = tuple[str, ...]


def table(head: Row, rows: list[Row]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ("---",) * len(head), *rows))


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
