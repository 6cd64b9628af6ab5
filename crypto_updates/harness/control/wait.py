"""`/wait`: until the harness has seen enough, and then for a while that it sees no more."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import HTTPException

from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.control.schema import Wanted
from crypto_updates.harness.crypto import Crypto
from crypto_updates.local.errors import StackError
from crypto_updates.service import problem

_LOOK_SECONDS = 0.05


def look(crypto: Crypto, wanted: Wanted) -> Callable[[], Sequence[Any]]:
    """What shows the things wanted, as far as they are there. Raises FaultyError."""
    if wanted.what == "subscribers":
        return lambda: crypto.subscribers(wanted.subject or SUBJECT)
    if wanted.what == "published":
        if wanted.subject:
            with contextlib.suppress(StackError):  # NATS is down: its next connection follows the subject
                crypto.follow(wanted.subject)
        return lambda: [message for message in crypto.published[:] if wanted.subject in {None, message.subject}]
    if wanted.subject:
        raise problem.FaultyError(422, "subject", wanted.subject, "nothing with reactions")
    return lambda: crypto.reactions[:]


async def until(wanted: Wanted, look: Callable[[], Sequence[Any]]) -> Sequence[Any]:
    """What `look` finds when it is what is wanted. Raises HTTPException with 409 when it is not in time."""
    found, begin = await asyncio.to_thread(look), time.monotonic()
    while len(found) < wanted.count:
        if time.monotonic() - begin > wanted.within:
            told = f"{len(found)} {_named(wanted)} after {wanted.within:g} s; wanted: {wanted.count}"
            raise HTTPException(409, told)
        await asyncio.sleep(_LOOK_SECONDS)
        found = await asyncio.to_thread(look)
    enough = time.monotonic()
    while time.monotonic() - enough < wanted.still:
        if len(found) > wanted.count:
            raise HTTPException(409, f"{len(found)} {_named(wanted)}; wanted: no more than {wanted.count}")
        await asyncio.sleep(_LOOK_SECONDS)
        found = await asyncio.to_thread(look)
    return found


def _named(wanted: Wanted) -> str:
    return f"{wanted.what} of {wanted.subject}" if wanted.subject else wanted.what
