"""`POST /faults/TARGET`: what can be done to a server or a link, until it is undone or for some seconds."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Path
from pydantic import Field, StrictInt

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
    """What to do to a server or a link, or what to undo. `GET /faults` tells the names for each target."""

    fault: str = Field(description="such as down, freeze, cut, slow; or heal, restart", examples=["down"])
    seconds: Seconds | None = Field(None, description="how long; null: until it is undone")
    delay: Seconds | None = Field(None, description="only with slow: seconds that each piece takes; null: 0.2")
    size: StrictInt | None = Field(None, ge=1, description="only with slow: the most bytes of a piece; null: 65536")


class Target:
    """A server or a link, to which one fault is done at a time."""

    def __init__(self, name: str, faults: Faults, tell: Tell) -> None:
        self.faults = faults
        self._name = name
        self._tell = tell
        self._turn = asyncio.Lock()
        self._over = asyncio.Event()

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[asyncio.Event]:
        """End the fault that has seconds left, and let no other begin. The event is set when somebody else asks."""
        self._over.set()
        self._over = over = asyncio.Event()
        async with self._turn:
            yield over

    async def do(self, name: str, seconds: float | None, **options: float) -> None:
        """End the fault that has seconds left, then do this one. Return when it is over, or lasts until it is undone.

        Raises what the fault raises.
        """
        fault = self.faults[name]
        async with self.turn() as over:
            self._tell(f"{self._name}: {name}" + ("" if seconds is None else f" for {seconds:g} s"))
            await asyncio.to_thread(fault.begin, **options)
            if fault.end and seconds is not None:
                begin = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), seconds)
                await asyncio.to_thread(fault.end)
                self._tell(f"{self._name}: {name} is over after {time.monotonic() - begin:.1f} s")


def router(targets: Mapping[str, Target]) -> APIRouter:
    made = APIRouter(tags=["faults"])
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
            raise problem.FaultyError(404, "target", target, one_of(targets))
        options = _options(asked, targets[target].faults)
        await targets[target].do(asked.fault, asked.seconds, **options)

    return made


def one_of(names: Iterable[str]) -> str:
    return f"one of {', '.join(names)}"


def _options(asked: Asked, faults: Faults) -> dict[str, float]:
    """Raises FaultyError for a fault that the target does not have, and for an option that the fault does not take."""
    if asked.fault not in faults:
        raise problem.FaultyError(422, "fault", asked.fault, one_of(faults))
    fault = faults[asked.fault]
    given = {name: value for name in ("delay", "size", "seconds") if (value := getattr(asked, name)) is not None}
    taken = {*fault.options, *(["seconds"] if fault.end else [])}
    for name in sorted(given.keys() - taken):
        raise problem.FaultyError(422, name, str(given[name]), f"nothing with {asked.fault}")
    return {name: value for name, value in given.items() if name != "seconds"}
