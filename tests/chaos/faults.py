"""The named faults, each of which has ended when its function returns: what it broke is healed, or being restarted."""

import contextlib
import random
import signal
import time
from collections.abc import Callable
from functools import partial

from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from crypto_updates.bus.stream import ACK_WAIT_SECONDS, DURABLE, STREAM
from crypto_updates.harness.link import Link
from crypto_updates.local.errors import StackError
from tests.chaos import client
from tests.chaos.member import Member
from tests.chaos.stage import START, Stage
from tests.support import eventually

# `seconds` is how long it lasts, for those faults that have no length of their own.
Fault = Callable[[Stage, random.Random, float], None]

KINDS = ("worker", "nats", "api_stub", "mongod")
LINKS = ("worker-nats", "stub-nats", "stub-mongo")
SHORT, LONG = 5.0, ACK_WAIT_SECONDS + 5.0
# Seconds after its start that a process lives when it is killed again and again: for a Python process, from before it
# has read its settings until well into its work.
LIVES = {"nats": (0.05, 0.8), "mongod": (0.05, 0.8), "worker": (0.05, 3.0), "api_stub": (0.05, 3.0)}


def killed(stage: Stage, rng: random.Random, seconds: float, *, kind: str) -> None:
    """SIGKILL, again and again, at a random moment after each restart."""
    member, end = rng.choice(stage.of(kind)), time.monotonic() + seconds
    while time.monotonic() < end:
        kill_once(member, rng.uniform(*LIVES[kind]))


def kill_once(member: Member, life: float, patience: float = 30.0) -> bool:
    """SIGKILL a member so many seconds after it was last ready; False if it was not ready within `patience`."""
    deadline = time.monotonic() + patience
    while (left := member.ready + life - time.monotonic()) > 0 or not member.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(min(max(left, 0.005), 0.1))
    member.kill()
    return True


def frozen(stage: Stage, rng: random.Random, _: float, *, kind: str, lasting: float) -> None:
    """SIGSTOP, and SIGCONT after so many seconds."""
    member = rng.choice(stage.of(kind))
    member.signal(signal.SIGSTOP)
    time.sleep(lasting)
    member.signal(signal.SIGCONT)


def terminated(stage: Stage, rng: random.Random, _: float, *, kind: str) -> None:
    """SIGTERM."""
    member = rng.choice(stage.of(kind))
    member.terminate()
    _await_end(member)


def all_terminated(stage: Stage, _: random.Random, __: float) -> None:
    """SIGTERM to everything at once."""
    for member in stage.members:
        member.terminate()
    for member in stage.members:
        _await_end(member)


def all_killed(stage: Stage, _: random.Random, __: float) -> None:
    """SIGKILL to everything at once."""
    for member in stage.members:
        member.kill()


def _await_end(member: Member) -> None:
    if not member.await_end(START):  # it may be frozen meanwhile
        raise StackError(f"{member.name} did not end within {START:.0f} s of SIGTERM, or did not come back")


def broken(stage: Stage, _: random.Random, seconds: float, *, link: str, how: Callable[[Link], None]) -> None:
    """A fault of a link. One that nobody is told of lasts for longer than it takes to find out."""
    how(stage.links[link])
    time.sleep(max(seconds, LONG) if how in {Link.hang, Link.half_open} else seconds)
    stage.links[link].heal()


def consumer_deleted(stage: Stage, _: random.Random, __: float) -> None:
    async def delete(js: JetStreamContext) -> bool:
        with contextlib.suppress(NotFoundError):
            await js.delete_consumer(STREAM, DURABLE)
        return True

    # Another fault may have NATS down.
    if not eventually(lambda: client.ask([stage.servers.nats[0].url], delete), START):
        raise StackError(f"NATS did not delete the consumer within {START:.0f} s")


def _slow(link: Link) -> None:
    link.slow(0.2, 16_384)


FAULTS: dict[str, Fault] = {
    **{f"{kind} sigkill": partial(killed, kind=kind) for kind in KINDS},
    **{f"{kind} sigstop short": partial(frozen, kind=kind, lasting=SHORT) for kind in KINDS},
    **{f"{kind} sigstop long": partial(frozen, kind=kind, lasting=LONG) for kind in KINDS},
    **{f"{kind} sigterm": partial(terminated, kind=kind) for kind in KINDS},
    **{
        f"{link} {name}": partial(broken, link=link, how=how)
        for link in LINKS
        for name, how in (
            ("cut", Link.cut),
            ("hang", Link.hang),
            ("reset", Link.reset),
            ("half-open", Link.half_open),
            ("slow", _slow),
            ("reply dropped", Link.drop_replies),
        )
    },
    "everything sigterm": all_terminated,
    "everything sigkill": all_killed,
    "consumer deleted": consumer_deleted,
}
# Too long for a plan.
LONGER: dict[str, Fault] = {
    f"{kind} sigstop 60 s": partial(frozen, kind=kind, lasting=60) for kind in ("nats", "mongod")
}
