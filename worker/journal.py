"""The outbox's file: SQLite in write-ahead mode, checked when it is opened, set aside when it is broken."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# Seconds that one worker waits for another one's write to the same file, which takes milliseconds. It holds up all
# that this worker does.
LOCK_WAIT = 0.5
# Marks the file as ours: "CRYP" (https://www.sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x43525950
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS events (feed TEXT, slot TEXT, body BLOB NOT NULL, PRIMARY KEY (feed, slot))"
    " WITHOUT ROWID"
)


class BrokenError(sqlite3.DatabaseError):
    """What the file holds is not what was written."""


class Journal:
    """`max_bytes` bounds the file; it takes nothing beyond. Where it cannot be used, each call tries again.

    A broken file is set aside under another name, and a new one made: at once when it is opened, else by `replace`.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path.absolute()
        self._max_bytes = max_bytes
        self._db: sqlite3.Connection | None = None
        self._file = 0

    def open(self) -> None:
        """Raises sqlite3.Error or OSError."""
        try:
            self._connect()
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
            self._set_aside(error)
            self._connect()

    def execute(self, statement: str, *values: object) -> list[Any]:
        """The rows. What it writes is on the disk when it returns. Raises sqlite3.Error."""
        try:
            return (self._db or self._connect()).execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            if _is_broken(error):
                raise BrokenError(str(error)) from error
            raise

    def count(self, feed: str) -> int:
        """The feed's events, for any thread. Raises sqlite3.Error."""
        with contextlib.closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=LOCK_WAIT)) as db:
            count: int = db.execute("SELECT COUNT(*) FROM events WHERE feed = ?", (feed,)).fetchone()[0]
            return count

    def share(self) -> float:
        """How much of `max_bytes` is in use, from 0 to 1. Raises sqlite3.Error."""
        names = ("page_count", "freelist_count", "max_page_count")
        pages, free, most = (self.execute(f"PRAGMA {name}")[0][0] for name in names)
        return float((pages - free) / most)

    def replace(self, error: Exception) -> None:
        """Raises sqlite3.Error or OSError where no new file can be made."""
        self.close()
        # Another worker that shares the file may have replaced it already.
        if not self._path.exists() or self._path.stat().st_ino == self._file:
            self._set_aside(error)
        self._connect()

    def close(self) -> None:
        if self._db:
            self._db.close()
        self._db = None

    def _connect(self) -> sqlite3.Connection:
        if self._path.exists() and not self._path.stat().st_size:
            log.warning("[OUTBOX] %s was empty: what it may have held is gone", self._path)
        db = sqlite3.connect(self._path, timeout=LOCK_WAIT, isolation_level=None)
        try:
            self._prepare(db)
        except BaseException:
            db.close()
            raise
        self._db, self._file = db, self._path.stat().st_ino
        return db

    def _prepare(self, db: sqlite3.Connection) -> None:
        def pragma(name: str) -> Any:  # noqa: ANN401 - each pragma has its own type
            return db.execute(f"PRAGMA {name}").fetchone()[0]

        if pragma("application_id") != APPLICATION_ID and db.execute("SELECT name FROM sqlite_schema").fetchone():
            raise sqlite3.DataError("it is a database of another program")
        if (verdict := pragma("quick_check(1)")) != "ok":
            raise BrokenError(verdict)
        pragma("journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # a commit waits for the disk
        pragma(f"max_page_count = {self._max_bytes // pragma('page_size')}")
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")  # writes, so that a read-only file is found now
        db.execute(SCHEMA)

    def _set_aside(self, error: Exception) -> None:
        aside = self._path.with_name(f"{self._path.name}.broken-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
        for suffix in ("-wal", "-shm", ""):
            part = self._path.with_name(self._path.name + suffix)
            if part.exists():
                part.rename(aside.with_name(aside.name + suffix))
        log.error(
            "[OUTBOX] %s is broken (%s) and was set aside as %s, where alone are the events of it that NATS does not"
            " have; going on with a new file",
            *(self._path, error, aside),
        )


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """https://www.sqlite.org/rescode.html#primary_result_code_list"""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return isinstance(error, BrokenError) or code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
