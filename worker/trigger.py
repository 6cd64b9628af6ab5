"""The trigger: one more message, for servers that wait on another subject than crypto.updates, or for other words."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from crypto_updates.bus import claims, event
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import Subject
from crypto_updates.bus.connection import Receipt
from crypto_updates.bus.stream import PROBE

# As nats-server takes it in a line of its protocol, with room to spare (max_control_line is 4 KB).
MAX_SUBJECT_BYTES = 255
MAX_BODY_BYTES = 65_536
# A stream would take the trigger for an event, or for a claim.
TAKEN = (event.SUBJECT, PROBE, claims.SUBJECT)
SUBJECT_FORM = "a subject of its own without wildcards, for example crypto.update"
WORDS_FORM = f'a text of {MAX_BODY_BYTES} bytes at most, for example {{"trigger":"update"}}'


def _subject(subject: str) -> str:
    if subject in TAKEN:
        raise ValueError("the stream takes this subject")
    if subject.startswith(("$", "_")):
        raise ValueError("the server's own subjects begin so")
    if not subject.isprintable() or len(subject.encode()) > MAX_SUBJECT_BYTES:
        raise ValueError
    return subject


def words(words: str | None, subject: str | None) -> str | None:
    """Raises ValueError when the words are of no use."""
    size = len((words or "").encode())
    if size > MAX_BODY_BYTES:
        raise ValueError(f"{size} bytes")
    if size and subject is None:
        raise ValueError("TRIGGER_SUBJECT is missing, so nothing would be sent")
    return words


TriggerSubject = Annotated[Subject, AfterValidator(_subject)]


async def send(bus: Bus, subject: str | None, words: str | None, events: Sequence[tuple[bytes, Receipt]]) -> list[str]:
    """Send the trigger for the slot's events, each a body with its receipt. Return where the server has taken it.

    An event in parts is one slot, so the words go out once; the last part is new for one worker only.
    """
    new = [body for body, receipt in events if not receipt.duplicate]
    if words is not None:
        new = [] if events[-1][1].duplicate else [words.encode()]
    if subject is None or not all([await bus.send(body, subject) for body in new]):
        return []
    return [subject] if new else []
