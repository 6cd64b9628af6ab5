"""The demo's control port, by which `crypto-updates fault` asks for a fault by hand."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import Field

from crypto_updates.harness.control.faults import one_of
from crypto_updates.harness.control.schema import Strict
from crypto_updates.harness.control.server import serve
from crypto_updates.harness.env import DEFAULT_PORT
from crypto_updates.local import ports
from crypto_updates.service import problem
from stack.faults import plan
from stack.faults.plan import Fault

Ask = Callable[[Fault], Future[None]]


class Asked(Strict):
    """What to do to a part of the demo. `GET /faults` tells the names for each."""

    fault: str = Field(description="such as down, freeze, cut", examples=["down"])
    seconds: float = Field(5.0, strict=True, gt=0, le=60, allow_inf_nan=False, description="how long")


def opened(ask: Ask) -> AbstractContextManager[str]:
    """Serve where `fault` looks first, or at a free port if another program has that one. The context is the URL."""
    return serve("Crypto Updates: a demo", router(ask), port=ports.free(DEFAULT_PORT))


def router(ask: Ask) -> APIRouter:
    """The same paths as those of the harness. But here each fault ends by itself."""
    made = APIRouter(tags=["faults"])
    targets = plan.names()
    where = Path(description="a server, a link or the market", json_schema_extra={"enum": list(targets)})

    @made.get("/faults")
    async def faults() -> dict[str, list[str]]:
        """What can be done to each target."""
        return targets

    @made.post("/faults/{target}", status_code=204, responses=problem.documented(400, 404, 422))
    async def fault(target: Annotated[str, where], asked: Asked) -> None:
        """Do this to a server, a link or the market. The answer comes when the fault is over."""
        if target not in targets:
            raise problem.FaultyError(404, "target", target, one_of(targets))
        if asked.fault not in targets[target]:
            raise problem.FaultyError(422, "fault", asked.fault, one_of(targets[target]))
        await asyncio.wrap_future(ask(Fault(target, asked.fault, asked.seconds)))

    return made
