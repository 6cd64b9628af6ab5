"""What is done to a demo: the faults by name, and a plan of them drawn from a seed. Pure."""

import random
from collections.abc import Iterator
from typing import NamedTuple

_SERVER = {"down": "killed", "freeze": "frozen"}
_LINK = {"cut": "cut", "hang": "hanging", "reset": "reset", "slow": "slow"}
_LINK |= {"half_open": "half open", "drop_replies": "without replies"}
# What each target is called, and its faults, each with its word.
_TARGETS = {
    "nats": ("nats-server", _SERVER),
    "mongo": ("mongod", _SERVER),
    "link": ("link to NATS", _LINK),
    "mongo_link": ("link to MongoDB", _LINK),
    "market": ("market", {"down": "down"}),
}
# The faults of a plan, with their shortest and longest seconds.
_SECONDS = {
    **{(server, "down"): (3, 5) for server in ("nats", "mongo")},
    **{(server, "freeze"): (5, 10) for server in ("nats", "mongo")},
    **{(link, kind): (4, 10) for link in ("link", "mongo_link") for kind in ("cut", "hang", "reset", "slow")},
    ("market", "down"): (8, 12),
}


class Fault(NamedTuple):
    """What is done to which part of a demo, and for how many seconds."""

    target: str
    kind: str
    seconds: float = 5.0

    @property
    def victim(self) -> str:
        return _TARGETS[self.target][0]

    def __str__(self) -> str:
        return f"{self.victim} {_TARGETS[self.target][1][self.kind]}; back in {self.seconds:g} s"


def names() -> dict[str, list[str]]:
    """The faults of each target."""
    return {target: list(kinds) for target, (_, kinds) in _TARGETS.items()}


def draw(seed: str) -> Iterator[Fault]:
    """Faults without end, the same for the same seed. Each one comes once before any comes twice."""
    rng = random.Random(f"faults {seed}")  # noqa: S311 - a plan is no secret
    while True:
        for (target, kind), span in rng.sample(list(_SECONDS.items()), len(_SECONDS)):
            yield Fault(target, kind, rng.randint(*span))
