"""One run: a stage, a load, and either a plan of faults or rounds of killing, then the check."""

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.chaos import plan
from tests.chaos.checker import Recovery, Violation, check
from tests.chaos.faults import FAULTS, KINDS, LIVES, LONGER, kill_once
from tests.chaos.history import History
from tests.chaos.load import Load
from tests.chaos.plan import Step
from tests.chaos.report import Report
from tests.chaos.stage import Stage

log = logging.getLogger(__name__)

# Seconds that a recovery may take, and how long it is waited for.
WITHIN, PATIENCE = 15.0, 60.0
# Seconds of killing between two recoveries.
ROUND = 15.0
CLOCKS = (0, 20, 5, 15, 10)


class Options(NamedTuple):
    """`faults`: those that are drawn from, all where none is named.

    `kills`: so many of each kind of process, and then that is all that is done, for `seconds` at most.
    """

    seed: str
    seconds: float
    workers: int = 1
    stubs: int = 1
    rate: float = 250.0
    kills: int = 0
    faults: Sequence[str] = ()

    @property
    def command(self) -> str:
        """It repeats the run."""
        values = {"seed": self.seed, "seconds": f"{self.seconds:g}", "workers": self.workers, "stubs": self.stubs}
        more = [("rate", f"{self.rate:g}"), ("kills", self.kills), *(("fault", f"'{name}'") for name in self.faults)]
        return " ".join(["python -m tests.chaos", *(f"--{name} {value}" for name, value in [*values.items(), *more])])


def run(options: Options, folder: Path) -> Report:
    """`folder` gets the logs and the history."""
    history, begin = History(), time.monotonic()
    with Stage(folder, clocks=CLOCKS[: options.workers], stubs=options.stubs) as stage:
        with Load(stage.nats.url, history, seed=options.seed, rate=options.rate):
            faults, recoveries = (_kill if options.kills else _break)(stage, options)
        evidence = stage.settle()
        kills, busy = ({kind: sum(each) for kind, each in counts.items()} for counts in _counts(stage))
    history.dump(folder / "history.jsonl")
    violations = check(
        history.operations,
        evidence.events,
        evidence.dead_letters,
        feeds=[evidence.feed],
        consumer=evidence.consumer,
        recoveries=[*recoveries, evidence.backlog],
        within=WITHIN,
    )
    if evidence.consumer is None:
        violations.append(Violation("I6", "consumer", "it is gone, or NATS does not answer"))
    violations += [
        Violation("kills", kind, f"{count} of {options.kills}: more --seconds are needed")
        for kind, count in kills.items()
        if count < options.kills
    ]
    violations += [Violation("exit", *end.split(": ")) for end in evidence.ends]
    stored = len(evidence.events) + len(evidence.dead_letters)
    seconds, slots = time.monotonic() - begin, len(evidence.feed.slots)
    return Report(
        options.command, seconds, faults, kills, busy, history.operations, stored, slots, recoveries, violations
    )


def _counts(stage: Stage) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    return (
        {kind: [member.kills for member in stage.of(kind)] for kind in KINDS},
        {kind: [member.busy for member in stage.of(kind)] for kind in KINDS},
    )


def _break(stage: Stage, options: Options) -> tuple[list[str], list[Recovery]]:
    """The faults of the seed's plan."""
    steps = plan.draw(options.seed, options.faults or list(FAULTS), options.seconds)
    log.info("%s", "\n".join(["The plan:", *map(str, steps)]))
    recoveries = []
    for number, step in enumerate(steps):
        time.sleep(step.pause)
        _at_once(_fault(stage, options.seed, number, step, name) for name in step.faults)
        recoveries.append(Recovery(" and ".join(step.faults), stage.flows(PATIENCE)))
        log.info("%s: recovered after %.1f s", recoveries[-1].fault, recoveries[-1].seconds or math.nan)
    return [name for step in steps for name in step.faults], recoveries


def _fault(stage: Stage, seed: str, number: int, step: Step, name: str) -> Callable[[], None]:
    rng = random.Random(f"{seed} {number} {name}")
    return lambda: (FAULTS | LONGER)[name](stage, rng, step.seconds)


def _kill(stage: Stage, options: Options) -> tuple[list[str], list[Recovery]]:
    """Rounds in which every kind of process has its killer, until each has been killed often enough.

    In every other round the servers are spared, so that the services come to work before they die.
    """
    end, recoveries = time.monotonic() + options.seconds, list[Recovery]()
    while time.monotonic() < end and (kinds := _spared(stage, options.kills)):
        number = len(recoveries) + 1
        if number % 2 and (services := [kind for kind in kinds if kind in {"worker", "api_stub"}]):
            kinds = services
        _at_once(_killer(stage, kind, random.Random(f"{options.seed} {number} {kind}"), ROUND) for kind in kinds)
        recoveries.append(Recovery(f"round {number}", stage.flows(PATIENCE)))
        stage.ledger.checkpoint()
        kills = ", ".join(f"{member.name} {member.kills}" for member in stage.members)
        log.info("round %d: kills: %s; recovered after %.1f s", number, kills, recoveries[-1].seconds or math.nan)
    return [], recoveries


def _spared(stage: Stage, kills: int) -> Sequence[str]:
    return [kind for kind in KINDS if sum(member.kills for member in stage.of(kind)) < kills]


def _killer(stage: Stage, kind: str, rng: random.Random, seconds: float) -> Callable[[], None]:
    def kill() -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kill_once(rng.choice(stage.of(kind)), rng.uniform(*LIVES[kind]))

    return kill


def _at_once(works: Iterable[Callable[[], None]]) -> None:
    with ThreadPoolExecutor(len(KINDS)) as pool:
        for done in [pool.submit(work) for work in works]:
            done.result()
