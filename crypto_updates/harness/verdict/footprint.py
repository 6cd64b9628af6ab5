"""What a good event makes a server do to MongoDB, learned from some events that come one at a time.

Servers differ: one adds documents for each event, one adds a document for several, one counts in a document that it
updates, one keeps only the latest hundred. So each figure that grows by the same amount with every event is a measure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from crypto_updates.harness.verdict.contents import Figure

KINDS = ("insert", "update", "replace")
# Of the events, so many do what all of them do.
_MOST = 0.8


class Write(NamedTuple):
    """`kind`: one of KINDS."""

    collection: str
    kind: str


class Change(NamedTuple):
    """What was written, and by how much the figures of the stored documents grew."""

    writes: Sequence[Write]
    growth: Mapping[Figure, float]


class Footprint:
    """Says from a change how many events it is the reaction to.

    `collections`: where the server wrote for each event. What it writes elsewhere (dead letters, a heartbeat) is no
    reaction.
    """

    def __init__(self, events: Sequence[Change]) -> None:
        """`events`: what each did, at least one. On a busy machine a write may be seen with the next event."""
        self._number = len(events)
        self._total = _counted(write for change in events for write in change.writes)
        written = Counter[str]()
        for (name, _), count in self._total.items():
            written[name] += count
        self.collections = {name for name, count in written.items() if count >= _MOST * self._number} or {*written}
        self._writes = {figure: each for kind in KINDS for figure, each in self._shares(kind)}
        self._grows = dict(self._growth([change.growth for change in events]))
        inserts = {name for name, kind in self._writes if kind == "insert"}
        self._countable = inserts | {name for name, _ in self._grows}

    def _shares(self, kind: str) -> Iterator[tuple[Figure, int]]:
        """How many writes of this kind each event brings, for the collections where that is a whole number."""
        for name in self.collections:
            each = round(self._total[name, kind] / self._number)
            if each and abs(self._total[name, kind] - each * self._number) <= (1 - _MOST) * self._number:
                yield (name, kind), each

    def _growth(self, events: Sequence[Mapping[Figure, float]]) -> Iterator[tuple[Figure, float]]:
        """By how much each event makes a figure grow, for those that grow evenly."""
        for figure in {figure for growth in events for figure in growth if figure[0] in self.collections}:
            each, times = Counter(growth.get(figure, 0) for growth in events).most_common(1)[0]
            if each > 0 and times >= _MOST * self._number:
                yield figure, each

    @property
    def countable(self) -> bool:
        """False for a server that keeps only the latest: it may write once for several events."""
        return bool(self._countable)

    def reacts(self, writes: Sequence[Write]) -> bool:
        """True if these are the writes of at least one event."""
        return self.collections <= {write.collection for write in writes}

    def events(self, change: Change) -> int:
        """How many events the change is the reaction to; at most 1 if they cannot be counted."""
        if not self._countable:
            return int(self.reacts(change.writes))
        counted = dict.fromkeys(self._countable, 0)
        for now, shares in ((_counted(change.writes), self._writes), (change.growth, self._grows)):
            for figure, each in shares.items():
                if (name := figure[0]) in counted:
                    counted[name] = max(counted[name], int(now.get(figure, 0) // each))
        return min(counted.values())


def _counted(writes: Iterable[Write]) -> Counter[Figure]:
    return Counter((write.collection, write.kind) for write in writes)
