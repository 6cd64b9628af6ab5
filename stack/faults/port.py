"""The demo's control port, by which `crypto-updates fault` asks for a fault by hand."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager

from fastapi import APIRouter, HTTPException
from pydantic import Field

from crypto_updates.harness.control.schema import Strict
from crypto_updates.harness.control.server import serve
from crypto_updates.harness.env import DEFAULT_PORT
from crypto_updates.local import ports
from crypto_updates.service import problem
from stack.faults import plan
from stack.faults.plan import Fault

Ask = Callable[[Fault], Future[None]]


class Asked(Strict):
    fault: str = Field(examples=["down"])
    seconds: float = Field(plan.DEFAULT_SECONDS, description=f"how long, {plan.MAX_SECONDS:g} at most")


def opened(ask: Ask) -> AbstractContextManager[str]:
    """Serve where `fault` looks first, or at a free port if another program has that one. The context is the URL."""
    return serve("Crypto Updates: a demo", _router(ask), port=ports.free(DEFAULT_PORT))


def _router(ask: Ask) -> APIRouter:
    """The same paths as those of the harness. But here each fault ends by itself."""
    made = APIRouter(tags=["faults"])

    @made.get("/faults")
    async def faults() -> dict[str, list[str]]:
        """What can be done to each target."""
        return plan.names()

    @made.post("/faults/{target}", status_code=204, responses=problem.documented(422))
    async def fault(target: str, asked: Asked) -> None:
        """Do this to a server, a link or the market. The answer comes when the fault is over."""
        try:
            wanted = plan.of(target, asked.fault, asked.seconds)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        await asyncio.wrap_future(ask(wanted))

    return made
