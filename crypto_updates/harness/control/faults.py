"""`POST /faults/TARGET`: what can be done to a server or a link, until it is undone or for some seconds."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path
from pydantic import Field

from crypto_updates.harness.control.schema import Seconds, Strict
from crypto_updates.service import problem

# Gets a line for people when a fault begins, and when it is over.
Tell = Callable[[str], object]


class Fault(NamedTuple):
    """`end` undoes it. Without one, it is over when `begin` returns. `options`: the arguments that `begin` takes."""

    begin: Callable[..., object]
    end: Callable[[], object] | None = None
    options: tuple[str, ...] = ()


Faults = Mapping[str, Fault]


class Asked(Strict):
    """A fault, as it is asked for."""

    fault: str = Field(examples=["down"])
    seconds: Seconds | None = Field(None, description="how long; nothing: until it is undone")
    delay: Seconds | None = Field(None, description="slow: seconds for each piece (0.2)")
    size: int | None = Field(None, ge=1, description="slow: bytes of a piece at most (65536)")


class Target:
    """A server or a link, to which one fault is done at a time."""

    def __init__(self, name: str, faults: Faults, tell: Tell) -> None:
        self.faults = faults
        self._name = name
        self._tell = tell
        self._turn = asyncio.Lock()
        self._over = asyncio.Event()

    async def do(self, name: str, seconds: float | None, **options: float) -> None:
        """End the fault that has seconds left, then do this one. Return when it is over, or lasts until it is undone.

        Raises what the fault raises.
        """
        fault = self.faults[name]
        self._over.set()
        self._over = over = asyncio.Event()
        async with self._turn:
            self._tell(f"{self._name}: {name}" + ("" if seconds is None else f" for {seconds:g} s"))
            await asyncio.to_thread(fault.begin, **options)
            if fault.end and seconds is not None:
                begin = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), seconds)
                await asyncio.to_thread(fault.end)
                self._tell(f"{self._name}: {name} is over after {time.monotonic() - begin:.1f} s")


def router(found: Mapping[str, Faults], tell: Tell) -> APIRouter:
    """`found`: the faults of each target, by its name."""
    made = APIRouter(tags=["faults"])
    targets = {name: Target(name, faults, tell) for name, faults in found.items()}
    where = Path(description="a server or a link", json_schema_extra={"enum": list(targets)})

    @made.get("/faults")
    async def faults() -> dict[str, list[str]]:
        """What can be done to each target."""
        return {name: list(target.faults) for name, target in targets.items()}

    @made.post("/faults/{target}", status_code=204, responses=problem.documented(400, 404, 422, 503))
    async def fault(target: Annotated[str, where], asked: Asked) -> None:
        """Do this to a server or a link. With `seconds`, the answer comes when the fault is over.

        Without them, `restart` ends `down` and `kill`, `thaw` ends `freeze`, and `heal` ends a fault of a link.
        A fault that has seconds left ends when the next one on its target begins.
        """
        if target not in targets:
            raise problem.FaultyError(404, "target", target, ", ".join(targets))
        options = _options(asked, targets[target].faults)
        await targets[target].do(asked.fault, asked.seconds, **options)

    return made


def _options(asked: Asked, faults: Faults) -> dict[str, float]:
    """Raises FaultyError for a fault that the target does not have, and for an option that the fault does not take."""
    if asked.fault not in faults:
        raise problem.FaultyError(422, "fault", asked.fault, ", ".join(faults))
    fault = faults[asked.fault]
    given = {name: value for name in ("delay", "size", "seconds") if (value := getattr(asked, name)) is not None}
    taken = {*fault.options, *(["seconds"] if fault.end else [])}
    for name in given.keys() - taken:
        raise problem.FaultyError(422, name, str(given[name]), f"nothing with {asked.fault}")
    return {name: value for name, value in given.items() if name != "seconds"}
