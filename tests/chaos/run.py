"""One run: a stage, a load, and a plan of faults, or rounds of killing, or a cluster's losses; then the check."""

import logging
import math
import random
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.chaos import plan
from tests.chaos.checker import Recovery, Violation, check
from tests.chaos.faults import FAULTS, KINDS, LIVES, LONGER, kill_once
from tests.chaos.history import History
from tests.chaos.load import at_each
from tests.chaos.loss import CLUSTER, LOSSES, ROLLING, restart
from tests.chaos.plan import Step
from tests.chaos.report import WITHOUT, Report
from tests.chaos.stage import Stage

log = logging.getLogger(__name__)

# Seconds that a recovery may take, and how long it is waited for.
WITHIN, PATIENCE = 15.0, 60.0
# Seconds from the loss of members until events are stored by the others. A replica set elects a primary after 10 s, so
# a shorter loss may be over before.
FAILOVER, ELECTION = 60.0, 10.0
# Seconds of killing between two recoveries.
ROUND = 15.0
CLOCKS = (0, 20, 5, 15, 10)


class Options(NamedTuple):
    """`faults`: those that are drawn from, all where none is named.

    `kills`: so many of each kind of process, and then that is all that is done, for `seconds` at most.
    `members`: servers of each kind. With several, one of each kind is lost every 20 s, with a worker and an API stub,
    and in the end everybody is restarted in turn; the faults that are named come one after the other.
    """

    seed: str
    seconds: float
    workers: int = 1
    stubs: int = 1
    members: int = 1
    rate: float = 250.0
    kills: int = 0
    faults: Sequence[str] = ()

    @property
    def command(self) -> str:
        """It repeats the run."""
        values = {"seed": self.seed, "seconds": f"{self.seconds:g}", "workers": self.workers, "stubs": self.stubs}
        values |= {"members": self.members, "rate": f"{self.rate:g}", "kills": self.kills}
        named = [*values.items(), *(("fault", f"'{name}'") for name in self.faults)]
        return " ".join(["python -m tests.chaos", *(f"--{name} {value}" for name, value in named)])

    @property
    def clocks(self) -> Sequence[int]:
        """The recovery from a loss is that of the workers that are left, so in a cluster all have the same clock."""
        return CLOCKS[: self.workers] if self.members == 1 else (0,) * self.workers


def run(options: Options, folder: Path) -> Report:
    """`folder` gets the logs and the history."""
    history, begin = History(), time.monotonic()
    with Stage(folder, clocks=options.clocks, stubs=options.stubs, members=options.members) as stage:
        with at_each(stage.servers.nats, history, seed=options.seed, rate=options.rate):
            faults, recoveries = _work(options)(stage, options)
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
        within=WITHIN if options.members == 1 else FAILOVER,
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


def _work(options: Options) -> Callable[[Stage, Options], tuple[list[str], list[Recovery]]]:
    if options.kills:
        return _kill
    return _lose if options.members > 1 else _break


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


def _lose(stage: Stage, options: Options) -> tuple[list[str], list[Recovery]]:
    """Members are lost for a while: events go on without them, and everybody does afterwards."""
    names = options.faults or CLUSTER
    lost = [name for name in names if name != ROLLING]
    steps = plan.losses(options.seed, lost, options.seconds, apart=bool(options.faults)) if lost else []
    log.info("%s", "\n".join(["The plan:", *map(str, steps), *[ROLLING] * (ROLLING in names)]))
    recoveries, begin = list[Recovery](), time.monotonic()
    for number, step in enumerate(steps):
        time.sleep(max(0.0, begin + number * min(plan.EVERY, options.seconds / len(steps)) - time.monotonic()))
        recoveries += _without(stage, options.seed, number, step)
    if ROLLING in names:
        restart(stage)
        recoveries.append(Recovery(f"back: {ROLLING}", stage.flows(PATIENCE)))
    done = [name for step in steps for name in step.faults]
    return [*done, *[ROLLING] * (ROLLING in names)], recoveries


def _without(stage: Stage, seed: str, number: int, step: Step) -> list[Recovery]:
    """Lose members until events go on without them, or only for so long that the others may not have elected yet."""
    names, patience = " and ".join(step.faults), step.seconds if step.seconds < ELECTION else FAILOVER
    with ExitStack() as losing:
        for name in step.faults:
            losing.enter_context(LOSSES[name](stage, random.Random(f"{seed} {number} {name}")))
        end = time.monotonic() + step.seconds
        without = stage.flows(patience, everybody=False)
        time.sleep(max(0.0, end - time.monotonic()))
    back = stage.flows(PATIENCE)
    told = "did not yet go on" if without is None else f"went on after {without:.1f} s"
    log.info("%s, %.1f s: events %s; all were back %.1f s later", names, step.seconds, told, back or math.nan)
    seen = [Recovery(f"{WITHOUT}{names}", without)] if without is not None or patience == FAILOVER else []
    return [*seen, Recovery(f"back: {names}", back)]


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
