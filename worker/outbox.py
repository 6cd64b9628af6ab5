"""The outbox: events that were made and that NATS has not acknowledged yet, kept so that they outlive the worker."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from crypto_updates.bus.event import Event, encode, text
from crypto_updates.service.config import ConfigError
from worker.journal import BrokenError, Journal
from worker.metrics import MISSED, OUTBOX

log = logging.getLogger(__name__)

# About 98,000 events of three quotes: more than two years of `*/15`, or a day of one event a second.
MAX_BYTES = 64 * 1024 * 1024
WARN_AT = 0.8
# Events that are held in memory while the disk takes none, and how many of them, the newest, keep their data.
MOST_HELD, WITH_DATA = 10_000, 100
# What may pass by itself; anything else that keeps the file from being opened is a matter of the configuration.
PASSING = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR}


class Outbox:
    """One event a slot, the oldest slot first. Workers may share a file; each sees the events of its feed.

    What the disk does not take, because the file has `max_bytes` or the disk is full, is held in memory, the newest
    events with their data and those before them without. Raises ConfigError on entering if the file cannot be used.
    """

    def __init__(self, path: Path, feed: str, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._feed = feed
        self._journal = Journal(path, max_bytes)
        self._held: dict[str, Event] = {}
        self._delivered: set[str] = set()
        self._problem = ""
        self._filling = False

    def __enter__(self) -> Self:
        try:
            self._journal.open()
        except (sqlite3.Error, OSError) as error:
            if not isinstance(error, sqlite3.Error) or getattr(error, "sqlite_errorcode", 0) & 0xFF not in PASSING:
                accepted = "accepted: a file of this worker's own, new or old, in a folder that it may write to"
                raise ConfigError(f"OUTBOX_PATH={self._path}: {error}; {accepted}") from error
            self._fail(error)
        OUTBOX.set_function(lambda: float(len(self)))
        if waiting := len(self):
            log.info("[OUTBOX] Events of an earlier run that wait for NATS: %d", waiting)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        if self._held:
            count, first, last = len(self._held), min(self._held), max(self._held)
            log.error("[OUTBOX] Lost, because they were in memory only: %d events from %s to %s", count, first, last)
        OUTBOX.set_function(lambda: 0.0)
        self._journal.close()

    def add(self, event: Event) -> None:
        """Keep the event until it is removed. Of two for a slot the first is kept."""
        self._held.setdefault(text(event.timestamp), event)
        self._flush()

    def oldest(self) -> Event | None:
        """The next event to deliver."""
        waiting = [self._held[min(self._held)]] if self._held else []
        rows = self._rows(
            "SELECT slot, body FROM events WHERE feed = ? ORDER BY slot LIMIT ?", 1 + len(self._delivered)
        )
        waiting += [_read(slot, body) for slot, body in rows if slot not in self._delivered]
        return min(waiting, key=lambda event: event.timestamp, default=None)

    def remove(self, event: Event) -> None:
        """The event is delivered."""
        self._held.pop(text(event.timestamp), None)
        # Remembered until the disk takes it, else the event would be delivered again and again.
        self._delivered.add(text(event.timestamp))
        try:
            for slot in sorted(self._delivered):
                self._journal.execute("DELETE FROM events WHERE feed = ? AND slot = ?", self._feed, slot)
                self._delivered.discard(slot)
        except sqlite3.Error as error:
            self._fail(error)
        else:
            self._flush()  # there is room now

    def slots(self) -> set[datetime]:
        """The slots whose events wait."""
        kept = {slot for (slot,) in self._rows("SELECT slot FROM events WHERE feed = ?")}
        return {datetime.fromisoformat(slot) for slot in kept - self._delivered | self._held.keys()}

    def __len__(self) -> int:
        """For any thread. What the file does not tell is left out."""
        kept = 0
        with contextlib.suppress(sqlite3.Error):
            kept = self._journal.count(self._feed)
        return max(0, kept - len(self._delivered)) + len(self._held)

    def _flush(self) -> None:
        """Bring what is held to the disk."""
        if not self._held:
            return
        try:
            for slot in sorted(self._held):
                body = encode(self._held[slot])
                self._journal.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", self._feed, slot, body)
                del self._held[slot]
            self._watch_size()
        except sqlite3.Error as error:
            self._fail(error)
            self._trim()

    def _rows(self, query: str, *values: object) -> list[Any]:
        try:
            return self._journal.execute(query, self._feed, *values)
        except sqlite3.Error as error:
            self._fail(error)
            return []

    def _fail(self, error: sqlite3.Error) -> None:
        """Told once for each kind of trouble; a broken file is replaced."""
        if isinstance(error, BrokenError):
            try:
                self._journal.replace(error)
            except (sqlite3.Error, OSError) as second:
                log.error("[OUTBOX] %s: no new file can be made: %s", self._path, second)
            else:
                return
        if self._problem != str(error):
            self._problem = str(error)
            log.error(
                "[OUTBOX] %s: %s: new events are held in memory, the newest %d with their data and the others without,"
                " and are lost when the worker is killed",
                *(self._path, error, WITH_DATA),
            )

    def _trim(self) -> None:
        """Memory is no place for hours of data."""
        held = sorted(self._held)
        for slot in held[:-WITH_DATA]:
            self._held[slot] = Event(timestamp=self._held[slot].timestamp)
        if len(held) > MOST_HELD:
            MISSED.inc()
            log.error("[OUTBOX] Too many events are held in memory: lost %s", held[0])
            del self._held[held[0]]

    def _watch_size(self) -> None:
        if self._problem:
            log.warning("[OUTBOX] %s takes events again", self._path)
            self._problem = ""
        share = self._journal.share()
        if share >= WARN_AT and not self._filling:
            log.warning("[OUTBOX] %s is %.0f %% full: NATS has taken nothing for long", self._path, 100 * share)
        self._filling = share >= WARN_AT


def _read(slot: str, body: bytes) -> Event:
    """The event as it was kept. A slot is never silent: what cannot be read goes without its data."""
    try:
        return msgspec.json.decode(body, type=Event)
    except msgspec.MsgspecError as error:
        log.error("[OUTBOX] The event of %s cannot be read (%s), and goes without its data: %r", slot, error, body)
        return Event(timestamp=datetime.fromisoformat(slot))
