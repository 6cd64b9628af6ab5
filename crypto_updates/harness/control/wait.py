"""`/wait`: until the harness has seen enough, and then for a while that it sees no more."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import HTTPException

from crypto_updates.harness.control.schema import Wanted

_LOOK_SECONDS = 0.05


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
    return f"subscribers of {wanted.subject}" if wanted.what == "subscribers" else wanted.what
