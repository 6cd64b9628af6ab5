"""`python -m tests.chaos.scribe`: fills the outbox in OUTBOX_DIR, and prints each slot once its event is kept.

With FSYNC=off nothing waits for the disk.
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


def run(folder: Path) -> None:
    with Outbox(folder, FEED) as outbox:
        for number in itertools.count():
            outbox.add(event(slot(number)))
            print(f"{KEPT}{slot(number)}")  # noqa: T201 - its output


if __name__ == "__main__":
    if os.environ["FSYNC"] == "off":
        os.fsync = lambda _: None
    run(Path(os.environ["OUTBOX_DIR"]))
