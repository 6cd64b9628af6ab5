"""What is done to a stage, drawn from a seed before it begins, so that the same seed does the same again. Pure."""

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.chaos.faults import LONG, SHORT

# Seconds: between a recovery and the next fault, of a fault that has no length of its own, and of a recovery.
PAUSE, LASTING, RECOVERY = (0.5, 3.0), (2.0, 10.0), 4.0
# Seconds from one loss of a cluster's members to the next, and the shortest loss; the longest, as a part of the former.
EVERY, LOST, MOST = 20.0, 3.0, 0.7
# One step in so many is two faults at once.
PAIR_EVERY = 3


class Step(NamedTuple):
    """Faults that begin at once, `pause` seconds after everything has recovered from the step before."""

    pause: float
    faults: tuple[str, ...]
    seconds: float

    def __str__(self) -> str:
        pause = f"after {self.pause:.1f} s: " if self.pause else ""
        return f"{pause}{' and '.join(self.faults)}, {self.seconds:.1f} s"

    @property
    def length(self) -> float:
        """About the seconds that it takes with the recovery."""
        long = ("long", "hang", "half-open")
        own = [LONG if fault.endswith(long) else SHORT if fault.endswith("short") else 0.0 for fault in self.faults]
        return self.pause + max(self.seconds, *own) + RECOVERY


def draw(seed: str, names: Sequence[str], seconds: float) -> list[Step]:
    """Steps that take about so long, one at least. Each fault comes once before any comes twice."""
    rng = random.Random(f"plan {seed}")
    steps: list[Step] = []
    deck: list[str] = []
    while not steps or sum(step.length for step in steps) < seconds:
        count = min(2 if len(steps) % PAIR_EVERY == PAIR_EVERY - 1 else 1, len(names))
        if len(deck) < count:
            deck += rng.sample(list(names), len(names))
        faults = tuple(deck.pop(0) for _ in range(count))
        steps.append(Step(round(rng.uniform(*PAUSE), 1), faults, round(rng.uniform(*LASTING), 1)))
    return steps


def losses(seed: str, names: Sequence[str], seconds: float, *, apart: bool = False) -> list[Step]:
    """A step each EVERY seconds, with one loss of each kind, which is a name's first word; with `apart`, with one loss.

    Each loss comes once, also when that makes the steps shorter, and of a kind all come before any comes twice.
    """
    rng = random.Random(f"losses {seed}")
    kinds = {name.split()[0]: [other for other in names if other.split()[0] == name.split()[0]] for name in names}
    hands = [list(names)] if apart else list(kinds.values())
    count = max(int(seconds / EVERY), *map(len, hands))
    decks, most = [_shuffled(rng, hand) for hand in hands], max(LOST, MOST * min(EVERY, seconds / count))
    return [Step(0.0, tuple(map(next, decks)), round(rng.uniform(LOST, most), 1)) for _ in range(count)]


def _shuffled(rng: random.Random, names: Sequence[str]) -> Iterator[str]:
    while True:
        yield from rng.sample(names, len(names))
