"""An item of the verdict, and what came of it."""

from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from crypto_updates.local.errors import StackError

if TYPE_CHECKING:
    from crypto_updates.harness.verdict.trial import Trial

# The text for each client library, as nats-server names it (/connz); "" is for all others.
Advice = Mapping[str, str]


class Outcome(StrEnum):
    HOLDS = "holds"
    FAILS = "fails"
    SKIPPED = "skipped"


class Flaw(Enum):
    """What a server does that fails an item."""

    LATE = "it subscribes, and too late"
    ENDS = "its process ends"
    DEAF = "it has no subscription any more"
    IDLE = "it has a subscription, and does not react"
    LOSES = "it loses an event"
    REPEATS = "it stores a copy"
    ACCEPTS = "it reacts to what is no event"
    LINGERS = "it does not end in time"


class FailedError(StackError):
    """The item fails."""

    def __init__(self, flaw: Flaw, seen: str) -> None:
        super().__init__(seen)
        self.flaw = flaw


class SkippedError(StackError):
    """The item does not apply to this server."""


class CandidateError(StackError):
    """The server cannot be started."""


Check = Callable[["Trial"], str]


class Item(NamedTuple):
    """`run` returns what was seen, or raises FailedError or SkippedError.

    `seconds`: how long it takes, about, with a server that is right. `quick`: part of `--quick`. `calm`: it counts
    writes, so that a late reaction to an earlier fault would disturb it.
    """

    name: str
    does: str
    seconds: float
    run: Check
    advice: Mapping[Flaw, Advice]
    quick: bool = True
    calm: bool = False


class Result(NamedTuple):
    """`logs`: the folder that keeps the logs of an item that failed."""

    name: str
    outcome: Outcome
    seconds: float
    seen: str
    advice: str = ""
    logs: Path | None = None
    flaw: Flaw | None = None
