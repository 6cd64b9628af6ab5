"""The outbox: events that NATS has not acknowledged yet, one file each, so that they outlive the worker."""

import errno
import heapq
import logging
import os
import re
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Self

from crypto_updates.bus import event
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.event import Event
from crypto_updates.service.config import ConfigError
from worker import disk
from worker.metrics import MISSED, OUTBOX

log = logging.getLogger(__name__)

# More than two years of `*/15`, or a day of one event a second: 400 MB of disk with 3 coins, 1.6 GB with 100.
MAX_EVENTS_ON_DISK = 100_000
WARN_AT_SHARE = 0.8
MAX_EVENTS_IN_MEMORY = 10_000
MAX_EVENTS_IN_MEMORY_WITH_DATA = 100
# A live worker needs a temporary file for milliseconds. If it loses one, it writes the event again.
LEFTOVER_AFTER_SECONDS = 3600.0
# The disk may have room again later. Any other error at the start is a bad OUTBOX_DIR.
PASSING_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}
ACCEPTED = "a folder, or a new one in an existing one, that the worker may write to, on a file system with hard links"


class Waiting(NamedTuple):
    slot: datetime
    body: bytes


class Outbox:
    """One event a slot, kept as the bytes to publish, so that any version of the worker can deliver it.

    Workers may share a folder; each delivers all events of its feed. What the disk does not take is held in memory.
    Entering raises ConfigError if the folder cannot be used.
    """

    def __init__(self, folder: Path, feed: str, max_events: int = MAX_EVENTS_ON_DISK) -> None:
        self._folder = folder
        self._feed = feed
        self._max_events = max_events
        # A heap of the slots seen on the disk. Another worker may have delivered some of them, or added more.
        self._seen: list[datetime] = []
        self._held: dict[datetime, bytes] = {}
        # Delivered, but the file cannot be removed yet. Without this, it would be delivered again and again.
        self._delivered: set[datetime] = set()
        self._is_removing = True
        self._impossible: set[str] = set()
        self._problem = ""
        self._is_filling = False

    def __enter__(self) -> Self:
        try:
            self._probe()
        except OSError as error:
            if error.errno not in PASSING_ERRORS:
                raise ConfigError(f"OUTBOX_DIR={self._folder}: {error.strerror}; accepted: {ACCEPTED}") from error
            self._fail(error)
        self._seen = self._list()
        OUTBOX.set_function(lambda: float(len(self)))
        if self._seen:
            log.info("[OUTBOX] Events of an earlier run that wait for NATS: %d", len(self._seen))
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()
        if held := sorted(map(event.text, self._held)):
            lost = (len(held), held[0], held[-1])
            log.error("[OUTBOX] Lost, because they were in memory only: %d events from %s to %s", *lost)
        OUTBOX.set_function(lambda: 0.0)

    def add(self, made: Event) -> None:
        """Keep the event until it is removed. The first event of a slot is kept."""
        self.hold(made)
        self.flush()

    def hold(self, made: Event) -> None:
        """As `add`, but in memory until the next `flush`."""
        self._held.setdefault(made.timestamp, event.encode(made))

    def flush(self) -> None:
        """Write what is held in memory to the disk."""
        if not self._held:
            return
        try:
            for slot in sorted(self._held):
                self._keep(slot)
        except OSError as error:
            self._fail(error)
            self._trim()
        else:
            self._tell_size()

    def oldest(self) -> Waiting | None:
        """Return the next event to deliver."""
        if not self._seen:
            self._seen = self._list()
        while slot := min([*self._seen[:1], *self._held], default=None):
            try:
                return Waiting(slot, self._held.get(slot) or self._read(slot))
            except FileNotFoundError:
                heapq.heappop(self._seen)  # another worker has delivered it
        return None

    def remove(self, slot: datetime) -> None:
        """Forget the event: it is delivered. After a power cut it may be back, and NATS drops the second copy."""
        self._held.pop(slot, None)
        self._delivered.add(slot)
        if self._seen[:1] == [slot]:
            heapq.heappop(self._seen)
        try:
            # The newest first, so that an old file that cannot be removed does not keep the others.
            for delivered in sorted(self._delivered, reverse=True):
                self._path(delivered).unlink(missing_ok=True)
                self._delivered.discard(delivered)
            self._is_removing = True
        except OSError as error:
            if self._is_removing:
                log.warning("[OUTBOX] Cannot remove %s: %s; NATS has the event", self._path(delivered), error.strerror)
            self._is_removing = False
        self.flush()  # there may be room now

    def slots(self) -> set[datetime]:
        """Return the slots whose events wait."""
        return {*self._list(), *self._held}

    def __len__(self) -> int:
        """Count what waits, from any thread."""
        return len(self.slots())

    def _path(self, slot: datetime) -> Path:
        return self._folder / f"{self._feed}@{re.sub('[-:]', '', event.text(slot))}.json"

    def _list(self) -> list[datetime]:
        """Return the feed's slots on the disk that are not delivered, the oldest first."""
        try:
            names = os.listdir(self._folder)  # noqa: PTH208 - several times as fast for 100,000 files
        except FileNotFoundError:
            return []
        except OSError as error:
            self._fail(error)
            return []
        found = (re.fullmatch(rf"{self._feed}@(\d{{8}}T\d{{6}}Z)\.json", name) for name in names)
        slots = {slot for match in found if match and (slot := self._slot(match))}
        return sorted(slots - self._delivered)

    def _slot(self, match: re.Match[str]) -> datetime | None:
        try:
            return datetime.fromisoformat(match[1])
        except ValueError as error:
            if match[0] not in self._impossible:
                self._impossible.add(match[0])
                log.warning("[OUTBOX] %s is no event's file: %s; leaving it there", self._folder / match[0], error)
            return None

    def _read(self, slot: datetime) -> bytes:
        """Return the kept bytes, or an event without data if they are unusable: a slot is never silent.

        Raises FileNotFoundError.
        """
        try:
            body = self._path(slot).read_bytes()
            event.parse(body)
        except FileNotFoundError:
            raise
        except (OSError, InvalidEventError) as error:
            log.error("[OUTBOX] %s cannot be used (%s); the event goes without data", self._path(slot), error)
            return event.encode(Event(timestamp=slot))
        return body

    def _probe(self) -> None:
        """Do once what `add` and `remove` do, and remove the temporary files of killed workers."""
        probe = self._folder / ".probe"
        disk.write(probe, b"")
        probe.unlink(missing_ok=True)
        for path in self._folder.glob(".*.tmp"):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > LEFTOVER_AFTER_SECONDS:
                    path.unlink()

    def _keep(self, slot: datetime) -> None:
        if len(self._seen) >= self._max_events:
            raise OSError(errno.EDQUOT, f"it has {self._max_events} events")
        disk.write(self._path(slot), self._held[slot])
        heapq.heappush(self._seen, slot)
        del self._held[slot]

    def _fail(self, error: OSError) -> None:
        """Log an error once, until the disk takes events again or another error comes."""
        problem = error.strerror or str(error)
        if self._problem != problem:
            self._problem = problem
            log.error(
                "[OUTBOX] %s: %s: new events are held in memory, the newest %d with their data and the others without,"
                " and are lost when the worker is killed",
                *(self._folder, problem, MAX_EVENTS_IN_MEMORY_WITH_DATA),
            )

    def _trim(self) -> None:
        """Keep what is held in memory small: data goes before slots, and the old before the new."""
        held = sorted(self._held)
        for slot in held[:-MAX_EVENTS_IN_MEMORY_WITH_DATA]:
            self._held[slot] = event.encode(Event(timestamp=slot))
        if len(held) > MAX_EVENTS_IN_MEMORY:
            MISSED.inc()
            log.error("[OUTBOX] Too many events are held in memory: lost %s", event.text(held[0]))
            del self._held[held[0]]

    def _tell_size(self) -> None:
        if self._problem:
            log.warning("[OUTBOX] %s takes events again", self._folder)
            self._problem = ""
        share = len(self._seen) / self._max_events
        if share >= WARN_AT_SHARE and not self._is_filling:
            log.warning(
                "[OUTBOX] %s is %.0f %% full: NATS has taken no event for a long time", self._folder, 100 * share
            )
        self._is_filling = share >= WARN_AT_SHARE
