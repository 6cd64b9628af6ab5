"""Whether the server reacts: by its writes to MongoDB, or by what a URL of it answers."""

import http.client
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pymongo import MongoClient

from crypto_updates.harness import answer
from crypto_updates.harness.answer import Answer
from crypto_updates.harness.reactions import Reactions
from crypto_updates.harness.verdict.contents import Stored, figures, growth, timeless
from crypto_updates.harness.verdict.footprint import KINDS, Change, Footprint, Write
from crypto_updates.harness.verdict.known import Known
from crypto_updates.local.errors import StackError
from crypto_updates.service import errors

_SYSTEM = {"admin", "config", "local"}
# So that the server has time for its work, too.
_PROBE_EVERY_SECONDS = 0.02


class Mark(NamedTuple):
    """A moment: how many writes there were until then, and what was stored or answered."""

    writes: int
    state: Any


class Watch(ABC):
    """Before it has learned what a good event does, each change is a reaction."""

    @property
    def countable(self) -> bool:
        """True if it can tell how many events were reacted to."""
        return False

    @property
    def state(self) -> str:
        """What else is worth knowing when there is no reaction."""
        return ""

    @abstractmethod
    def mark(self) -> Mark: ...

    @abstractmethod
    def activity(self) -> object:
        """Something that is another one after each reaction, cheap to ask for."""

    @abstractmethod
    def ignore(self, since: Mark) -> None:
        """What has changed since is no reaction: there was no event."""

    @abstractmethod
    def learn(self, marks: Sequence[Mark]) -> None:
        """Between two of these there was one event."""

    @abstractmethod
    def reacted(self, since: Mark) -> bool: ...

    @abstractmethod
    def events(self, since: Mark) -> int:
        """How many events were reacted to; at most 1 if they cannot be counted."""

    @abstractmethod
    def contents(self) -> str:
        """All that is stored or answered, without times."""

    @abstractmethod
    def pass_over(self, since: Mark) -> None:
        """What was written since is a log of all messages, which is no part of `contents`."""


class MongoWatch(Watch):
    def __init__(self, known: Known, reactions: Reactions, client: MongoClient[dict[str, Any]]) -> None:
        self._known = known
        self._reactions = reactions
        self._client = client

    @property
    def countable(self) -> bool:
        footprint = self._known.footprint
        return footprint is not None and footprint.countable

    def mark(self) -> Mark:
        return Mark(len(self._reactions), figures(self._stored()))

    def activity(self) -> int:
        return len(self._writes(0))

    def ignore(self, since: Mark) -> None:
        self._known.noise = {write.collection for write in self._writes(since.writes)}

    def learn(self, marks: Sequence[Mark]) -> None:
        changes = [
            Change(self._writes(begin.writes, end.writes), growth(begin.state, end.state))
            for begin, end in pairwise(marks)
        ]
        self._known.footprint = Footprint(changes)

    def reacted(self, since: Mark) -> bool:
        writes = self._writes(since.writes)
        footprint = self._known.footprint
        return footprint.reacts(writes) if footprint else bool(writes)

    def events(self, since: Mark) -> int:
        if (footprint := self._known.footprint) and footprint.countable:
            return footprint.events(Change(self._writes(since.writes), growth(since.state, figures(self._stored()))))
        return int(self.reacted(since))

    def contents(self) -> str:
        return timeless({name: stored for name, stored in self._stored().items() if name not in self._known.logs})

    def pass_over(self, since: Mark) -> None:
        self._known.logs |= {write.collection for write in self._writes(since.writes)}

    def _concerns(self, collection: str) -> bool:
        footprint = self._known.footprint
        return collection in footprint.collections if footprint else collection not in self._known.noise

    def _writes(self, begin: int, end: int | None = None) -> list[Write]:
        found = self._reactions[begin:end]
        writes = [Write(one.collection, one.operation) for one in found if one.operation in KINDS]
        return [write for write in writes if self._concerns(write.collection)]

    def _stored(self) -> Stored:
        """By collection; those of the same name in several databases are not told apart."""
        stored: dict[str, list[Any]] = {}
        for name in sorted(set(self._client.list_database_names()) - _SYSTEM):
            database = self._client[name]
            for collection in database.list_collection_names(filter={"type": "collection"}):
                if self._concerns(collection):
                    stored.setdefault(collection, []).extend(database[collection].find())
        return stored


class ProbeWatch(Watch):
    """A reaction is a change in what the URL answers. While it does not answer, nothing has changed."""

    def __init__(self, known: Known, url: str, port: int) -> None:
        """`port`: the one that the server was given. If it listens there, that is where it is asked."""
        self._known = known
        self._url = urlsplit(url)
        self._port = port
        self._takes_port = False
        self._state = ""
        self._asked = 0.0
        self._last = Answer(HTTPStatus.OK, {}, b"")

    @property
    def state(self) -> str:
        return self._state

    def mark(self) -> Mark:
        return Mark(0, self._answer())

    def activity(self) -> str:
        if time.monotonic() > self._asked + _PROBE_EVERY_SECONDS:
            self._answer()
        return self._shown(self._last)

    def ignore(self, since: Mark) -> None:
        """Raises StackError if more than times has changed, since then the answer tells nothing of events."""
        now, before = self._answer(), since.state
        self._known.shows_clock = now.text != before.text
        if _timeless(now) != _timeless(before):
            raise StackError(f"--probe {self._address()}: its answer changes without an event")

    def learn(self, marks: Sequence[Mark]) -> None:
        """There is nothing to learn: each change is a reaction."""

    def pass_over(self, since: Mark) -> None:
        """An answer has no such part."""

    def reacted(self, since: Mark) -> bool:
        return self.activity() != self._shown(since.state)

    def events(self, since: Mark) -> int:
        return int(self.reacted(since))

    def contents(self) -> str:
        return _timeless(self._answer())

    def _shown(self, found: Answer) -> str:
        return _timeless(found) if self._known.shows_clock else found.text

    def _answer(self) -> Answer:
        url = self._address()
        try:
            found = answer.get(url)
        except (OSError, http.client.HTTPException) as error:
            self._state = f"{url} does not answer ({errors.text(error)})"
        else:
            self._state = f"{url} answers with {found.status}"
            if found.status == HTTPStatus.OK:
                self._last = found
        self._asked = time.monotonic()
        return self._last

    def _address(self) -> str:
        host = self._url.hostname or ""
        if not self._takes_port:
            with suppress(OSError):
                socket.create_connection((host, self._port), timeout=1).close()
                self._takes_port = True
        if not self._takes_port:
            return self._url.geturl()
        return self._url._replace(netloc=f"[{host}]:{self._port}" if ":" in host else f"{host}:{self._port}").geturl()


def _timeless(found: Answer) -> str:
    try:
        return timeless(found.json())
    except ValueError:
        return found.text
