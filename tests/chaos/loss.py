"""The faults of a cluster: a member is lost for a while, and the others go on, or all are restarted in turn."""

import contextlib
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

from crypto_updates.local.errors import StackError
from tests.chaos.member import Member
from tests.chaos.stage import START, Stage
from tests.support import eventually

# Lost while the `with` lasts.
Lost = AbstractContextManager[None]
Loss = Callable[[Stage, random.Random], Lost]
# What a cluster calls its first member and the others.
ROLES = {"nats": ("leader", "follower"), "mongod": ("primary", "secondary")}
# Seconds in which a cluster has somebody who leads.
ELECTION = 60.0
ROLLING = "rolling restart"


def killed(_: Stage, member: Member) -> Lost:
    return member.down()


@contextlib.contextmanager
def frozen(_: Stage, member: Member) -> Iterator[None]:
    member.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        member.signal(signal.SIGCONT)


@contextlib.contextmanager
def cut_off(stage: Stage, member: Member) -> Iterator[None]:
    """The others do not hear it, and it does not hear them. The services hear both sides."""
    stage.servers.cut(member)
    try:
        yield
    finally:
        stage.servers.join(member)


How = Callable[[Stage, Member], Lost]


def of_role(stage: Stage, rng: random.Random, *, kind: str, role: str, how: How) -> Lost:
    leading = eventually(partial(stage.leading, kind), ELECTION)
    if leading is None:
        raise StackError(f"no {ROLES[kind][0]} of {kind} within {ELECTION:.0f} s")
    others = [member for member in stage.of(kind) if member is not leading]
    return how(stage, leading if role == ROLES[kind][0] else rng.choice(others))


def any_of(stage: Stage, rng: random.Random, *, kind: str, how: How) -> Lost:
    return how(stage, rng.choice(stage.of(kind)))


def restart(stage: Stage) -> None:
    """SIGTERM to everybody, one after the other, each when the one before is back and has caught up."""
    for member in stage.members:
        member.terminate()
        if not member.await_end(START) or not eventually(stage.ledger.whole, 2 * START):
            raise StackError(f"{member.name} was not back within {3 * START:.0f} s of SIGTERM")


LOSSES: dict[str, Loss] = {
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
CLUSTER = (*LOSSES, ROLLING)
