"""The faults of a cluster: a member is lost for some seconds, while the others go on, or all are restarted in turn."""

import random
import signal
import time
from collections.abc import Callable
from functools import partial

from crypto_updates.local.errors import StackError
from tests.chaos.faults import Fault
from tests.chaos.member import Member
from tests.chaos.stage import START, Stage
from tests.support import eventually

Loss = Callable[[Stage, Member, float], None]
# What a cluster calls its first member and the others.
ROLES = {"nats": ("leader", "follower"), "mongod": ("primary", "secondary")}
# Seconds in which a cluster has somebody who leads.
ELECTION = 60.0
ROLLING = "rolling restart"


def killed(_: Stage, member: Member, seconds: float) -> None:
    with member.down():
        time.sleep(seconds)


def frozen(_: Stage, member: Member, seconds: float) -> None:
    member.signal(signal.SIGSTOP)
    time.sleep(seconds)
    member.signal(signal.SIGCONT)


def cut_off(stage: Stage, member: Member, seconds: float) -> None:
    """The others do not hear it, and it does not hear them. The services hear both sides."""
    stage.servers.cut(member)
    time.sleep(seconds)
    stage.servers.join(member)


def of_role(stage: Stage, rng: random.Random, seconds: float, *, kind: str, role: str, how: Loss) -> None:
    leading = eventually(partial(stage.leading, kind), ELECTION)
    if leading is None:
        raise StackError(f"no {ROLES[kind][0]} of {kind} within {ELECTION:.0f} s")
    others = [member for member in stage.of(kind) if member is not leading]
    how(stage, leading if role == ROLES[kind][0] else rng.choice(others), seconds)


def any_of(stage: Stage, rng: random.Random, seconds: float, *, kind: str, how: Loss) -> None:
    how(stage, rng.choice(stage.of(kind)), seconds)


def restarted(stage: Stage, _: random.Random, __: float) -> None:
    """SIGTERM to everybody, one after the other, each when the one before is back and has caught up."""
    for member in stage.members:
        member.terminate()
        if not member.await_end(START) or not eventually(stage.ledger.whole, 2 * START):
            raise StackError(f"{member.name} was not back within {3 * START:.0f} s of SIGTERM")


# One of each kind at once is what a run loses every 20 s.
LOSSES: dict[str, Fault] = {
    **{
        f"{kind} {role} {name}": partial(of_role, kind=kind, role=role, how=how)
        for kind, roles in ROLES.items()
        for role in roles
        for name, how in (("killed", killed), ("frozen", frozen), ("cut off", cut_off))
    },
    **{
        f"{kind} {name}": partial(any_of, kind=kind, how=how)
        for kind in ("worker", "api_stub")
        for name, how in (("killed", killed), ("frozen", frozen))
    },
}
CLUSTER: dict[str, Fault] = {**LOSSES, ROLLING: restarted}
