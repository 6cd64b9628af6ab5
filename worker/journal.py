"""The outbox's file: SQLite in write-ahead mode, checked when it is opened, set aside when it is broken."""

from __future__ import annotations

import logging
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# Seconds that one worker waits for another one's write to the same file.
LOCK_WAIT = 5.0
# Marks the file as ours: "CRYP" (https://www.sqlite.org/pragma.html#pragma_application_id).
APPLICATION_ID = 0x43525950
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS events (feed TEXT, slot TEXT, body BLOB NOT NULL, PRIMARY KEY (feed, slot))"
    " WITHOUT ROWID"
)


class BrokenError(sqlite3.DatabaseError):
    """What the file holds is not what was written."""


class Journal:
    """`max_bytes` bounds the file; it takes nothing beyond. Raises sqlite3.Error or OSError if it cannot be used.

    A broken file is set aside under another name, and a new one made: at once when it is opened, else by `replace`.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        try:
            self._db = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
            self._set_aside(error)
            self._db = self._open()

    def execute(self, statement: str, *values: object) -> list[Any]:
        """The rows. What it writes is on the disk when it returns. Raises sqlite3.Error."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            if _is_broken(error):
                raise BrokenError(str(error)) from error
            raise

    def share(self) -> float:
        """How much of `max_bytes` is in use, from 0 to 1."""
        pages, free, most = (self._pragma(name) for name in ("page_count", "freelist_count", "max_page_count"))
        return float((pages - free) / most)

    def replace(self, error: Exception) -> None:
        """Raises sqlite3.Error or OSError where no new file can be made."""
        self.close()
        self._set_aside(error)
        self._db = self._open()

    def close(self) -> None:
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        # The thread that answers /metrics asks too.
        self._db = sqlite3.connect(self._path, timeout=LOCK_WAIT, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
        except BaseException:
            self.close()
            raise
        return self._db

    def _prepare(self) -> None:
        if self._pragma("application_id") != APPLICATION_ID and self.execute("SELECT name FROM sqlite_schema"):
            raise sqlite3.DataError("it is a database of another program")
        if (verdict := self._pragma("quick_check(1)")) != "ok":
            raise BrokenError(verdict)
        self._pragma("journal_mode = WAL")
        self.execute("PRAGMA synchronous = FULL")  # a commit waits for the disk
        self._pragma(f"max_page_count = {self._max_bytes // self._pragma('page_size')}")
        self.execute(f"PRAGMA application_id = {APPLICATION_ID}")  # writes, so that a read-only file is found now
        self.execute(SCHEMA)

    def _pragma(self, name: str) -> Any:  # noqa: ANN401 - each pragma has its own type
        return self.execute(f"PRAGMA {name}")[0][0]

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
