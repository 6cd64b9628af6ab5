"""A stack of its own, in which items run one after another."""

import re
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.verdict import advice
from crypto_updates.harness.verdict.candidate import Candidate
from crypto_updates.harness.verdict.catalogue import FIRST
from crypto_updates.harness.verdict.halt import Halt
from crypto_updates.harness.verdict.item import FailedError, Item, Outcome, Result, SkippedError
from crypto_updates.harness.verdict.known import Known
from crypto_updates.harness.verdict.trial import Trial
from crypto_updates.local import guard
from crypto_updates.local.errors import StackError
from crypto_updates.local.servers import Mongod, Server

SERVER_LOG = "server.log"
_START_SECONDS = 30.0
_MONGO_MS = 10_000


class Lane:
    """Used in a `with` statement. `logs`: the folder for the logs of items that fail."""

    def __init__(self, candidate: Candidate, known: Known, logs: Path, halt: Halt) -> None:
        self._candidate = candidate
        self._known = known
        self._logs = logs
        self._halt = halt
        self._mongod = Mongod()
        self._stack = ExitStack()
        self._disturbed = False
        self.trial: Trial

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            self._folder = closing.enter_context(guard.folder())
            closing.enter_context(self._mongod)
            closing.callback(self._stack.close)
            self._open()
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def run(self, item: Item) -> Result:
        """Raises HaltedError, and StackError for what is not the server's fault."""
        begin = time.monotonic()
        try:
            self._prepare(item)
            begin = time.monotonic()
            seen = item.run(self.trial)
        except SkippedError as error:
            return Result(item.name, Outcome.SKIPPED, time.monotonic() - begin, str(error))
        except FailedError as error:
            return self._failed(item, error, time.monotonic() - begin)
        except PyMongoError as error:
            raise StackError(f"{self._mongod.url}: {error}") from error
        return Result(item.name, Outcome.HOLDS, time.monotonic() - begin, seen)

    def at_usual_ports(self) -> bool:
        """Start anew, for a server with addresses that cannot be changed. False if the usual ports are taken."""
        self._open()
        return self.trial.open_usual_ports()

    def wake(self) -> None:
        """Have the server run. Whether it reacts is for the items to say."""
        with suppress(FailedError):
            if not self._is_ready():
                self._open()
                self.trial.start(_START_SECONDS)

    def works(self) -> bool:
        """True if the server runs and reacts here, too: one with a fixed port cannot run twice at once."""
        with suppress(FailedError):
            self.trial.start(_START_SECONDS)
            self.trial.react()
            self.trial.settle()
            return True
        return False

    def _prepare(self, item: Item) -> None:
        """Have the server run and be subscribed, with no fault behind it that the item would notice."""
        if item == FIRST[0]:
            return
        if not self._is_ready() or self.trial.is_behind or (item.calm and self._disturbed):
            self._open()
            self.trial.start(_START_SECONDS)
        self.trial.settle()
        self._disturbed = not item.calm

    def _is_ready(self) -> bool:
        with suppress(FailedError):
            return self.trial.started and self.trial.lives() and self.trial.subscribed()
        return False

    def _open(self) -> None:
        """A new stack, in which the server does not run yet."""
        self._stack.close()
        crypto = self._stack.enter_context(Crypto(self._mongod, self._folder))
        client = self._stack.enter_context(
            MongoClient[dict[str, Any]](
                self._mongod.url, directConnection=True, serverSelectionTimeoutMS=_MONGO_MS, tz_aware=True
            )
        )
        self.trial = Trial(self._candidate, crypto, client, self._known, self._halt)
        if self._known.usual_ports:
            self.trial.open_usual_ports()
        self._stack.callback(self.trial.kill)

    def _failed(self, item: Item, error: FailedError, seconds: float) -> Result:
        told = advice.text(item.advice, error.flaw, self._known.library)
        folder = self._logs / re.sub(r"\W+", "-", item.name).strip("-")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / SERVER_LOG).write_text("\n".join([*self.trial.lines(), ""]), encoding="utf-8")
        servers: tuple[Server, ...] = (self.trial.crypto.nats, self._mongod)
        for server in servers:
            shutil.copy(server.log, folder)
        self._open()
        return Result(item.name, Outcome.FAILS, seconds, str(error), told, folder, error.flaw)
