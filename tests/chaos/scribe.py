"""`python -m tests.chaos.scribe`: fills the outbox at OUTBOX_PATH, and prints each slot once its event is kept.

SYNCHRONOUS is another value for SQLite's setting of that name than the outbox's own.
"""

import itertools
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from crypto_updates.bus.event import Event, text
from worker.outbox import Outbox

FEED = "crypto"
BEGIN = datetime(2023, 11, 21, 12, tzinfo=UTC)
KEPT = "kept "


def slot(number: int) -> str:
    return text(BEGIN + timedelta(seconds=number))


def event(slot: str) -> Event:
    return Event(timestamp=datetime.fromisoformat(slot), source="scribe")


def run(path: Path, synchronous: str) -> None:
    with Outbox(path, FEED) as outbox:
        if synchronous:
            outbox._journal.execute(f"PRAGMA synchronous = {synchronous}")
        for number in itertools.count():
            outbox.add(event(slot(number)))
            print(f"{KEPT}{slot(number)}")  # noqa: T201 - its output


if __name__ == "__main__":
    run(Path(os.environ["OUTBOX_PATH"]), os.environ["SYNCHRONOUS"])
