"""A dead letter as text. Nothing in it controls the terminal, whatever its publisher wrote. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from api_stub.subscriber import brief, printable
from crypto_updates.bus.event import text

Letter = Mapping[str, Any]
DUMP_BYTES_A_LINE = 16


def summary(letter: Letter) -> str:
    """A line with the time, the id, the size and the reason."""
    size = f"{letter['size']} B"
    return f"{text(letter['received_at'])}  {brief(letter['_id'])}  {size:>9}  {brief(letter['reason'])}"


def fields(letter: Letter) -> dict[str, Any]:
    """The same and the headers, for JSON."""
    others = {name: letter[name] for name in ("stream_seq", "reason", "headers", "size")}
    return {"id": letter["_id"], "received_at": letter["received_at"].isoformat()} | others


def whole(letter: Letter, event_id: str) -> Iterator[str]:
    """All of it, line by line. The publisher's text is indented, so that it cannot pass for a line of ours."""
    yield f"id:           {printable(letter['_id'])}"
    yield f"received at:  {text(letter['received_at'])}"
    yield f"stream seq:   {'none (core NATS)' if letter['stream_seq'] is None else letter['stream_seq']}"
    yield f"reason:       {printable(letter['reason'])}"
    yield f"replayed as:  {printable(event_id)}"
    yield "headers:" if letter["headers"] else "headers:      none"
    yield from (f"  {printable(name)}: {printable(value)}" for name, value in letter["headers"].items())
    body = letter["raw"]
    yield f"body, {len(body)} bytes:"
    plain = as_text(body)
    yield from (f"  {line}" for line in (_dump(body) if plain is None else plain.split("\n")))


def as_text(body: bytes) -> str | None:
    """The body if it is text that a terminal shows unchanged, else None."""
    try:
        plain = body.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        return None
    return plain if all(char.isprintable() or char in "\n\t" for char in plain) else None


def _dump(body: bytes) -> Iterator[str]:
    for place in range(0, len(body), DUMP_BYTES_A_LINE):
        row = body[place : place + DUMP_BYTES_A_LINE]
        shown = "".join(char if char.isascii() and char.isprintable() else "." for char in map(chr, row))
        yield f"{place:08x}  {row.hex(' '):{3 * DUMP_BYTES_A_LINE}} {shown}"
