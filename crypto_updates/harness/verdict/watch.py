"""Whether the server reacts: by its writes to MongoDB, or by what a URL of it answers."""

import http.client
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from itertools import pairwise
from typing import Any, NamedTuple

from pymongo import MongoClient

from crypto_updates.harness import answer
from crypto_updates.harness.answer import Answer
from crypto_updates.harness.reactions import Reactions
from crypto_updates.harness.verdict.contents import Stored, figures, growth, timeless
from crypto_updates.harness.verdict.footprint import KINDS, Change, Footprint, Write
from crypto_updates.harness.verdict.known import Known
from crypto_updates.local.errors import StackError

_SYSTEM = {"admin", "config", "local"}


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

    def __init__(self, url: Callable[[], str]) -> None:
        self._url = url
        self._last = ""

    def mark(self) -> Mark:
        return Mark(0, self.contents())

    def activity(self) -> str:
        return self.contents()

    def ignore(self, since: Mark) -> None:
        """Raises StackError if the answer has changed, since then it tells nothing of events."""
        if self.reacted(since):
            raise StackError(f"--probe {self._url()}: its answer changes without an event")

    def learn(self, marks: Sequence[Mark]) -> None:
        """There is nothing to learn: each change is a reaction."""

    def pass_over(self, since: Mark) -> None:
        """An answer has no such part."""

    def reacted(self, since: Mark) -> bool:
        return self.contents() != str(since.state)

    def events(self, since: Mark) -> int:
        return int(self.reacted(since))

    def contents(self) -> str:
        with suppress(OSError, http.client.HTTPException):
            found = answer.get(self._url())
            if found.status == HTTPStatus.OK:
                self._last = _timeless(found)
        return self._last


def _timeless(found: Answer) -> str:
    try:
        return timeless(found.json())
    except ValueError:
        return found.text
