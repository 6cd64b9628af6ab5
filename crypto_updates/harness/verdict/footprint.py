"""What a good event makes a server do to MongoDB, learned from some events that come one at a time.

Servers differ: one adds documents for each event, one adds a document for several, one counts in a document that it
updates, one keeps only the latest hundred. So each figure that grows by the same amount with every event is a measure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from crypto_updates.harness.verdict.contents import Figure

KINDS = ("insert", "update", "replace")


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
        """`events`: what each did, at least one."""
        places = [{write.collection for write in change.writes} for change in events]
        self.collections = set.intersection(*places) or set.union(*places)
        self._writes = {figure: each for kind in KINDS for figure, each in self._shares(kind, events)}
        first, *others = [change.growth for change in events]
        self._grows = {
            figure: each
            for figure, each in first.items()
            if figure[0] in self.collections and each > 0 and all(other.get(figure) == each for other in others)
        }
        inserts = {name for name, kind in self._writes if kind == "insert"}
        self._countable = inserts | {name for name, _ in self._grows}

    def _shares(self, kind: str, events: Sequence[Change]) -> Iterator[tuple[Figure, int]]:
        """How many writes of this kind each event brings, for the collections where that is a whole number."""
        total = _counted(write for change in events for write in change.writes)
        for name in self.collections:
            each, rest = divmod(total[name, kind], len(events))
            if each and not rest:
                yield (name, kind), each

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
