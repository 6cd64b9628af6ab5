"""The real services under one fast clock, on real servers.

Only the time of day is fast. Deadlines go by the monotonic clock, which stays the machine's, so that two seconds for an
answer are two seconds. The servers keep the machine's time of day, too: nats-server asks the kernel for it, past any
library, and under libfaketime mongod's waits end at once or never. Neither gives an event a time.
"""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from crypto_updates.harness import faketime
from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from crypto_updates.local.errors import StackError
from crypto_updates.local.servers import Mongod, NatsServer
from tests.chaos.checker import Consumer
from tests.chaos.ledger import Ledger
from tests.chaos.member import Service
from tests.day.date import SCHEDULE, Day
from tests.day.verdict import Evidence
from tests.support import eventually

# Of the machine, for the services to be up before the day begins.
LEAD_SECONDS = 30.0
# Of the machine, for the last event after its slot.
PATIENCE_SECONDS = 30.0


class Clock:
    """The time that all processes see: `begin` at first, and then so many times as fast as the machine's."""

    def __init__(self, begin: datetime, speed: float) -> None:
        self._begin, self._speed, self._start = begin, speed, time.time()

    def now(self) -> datetime:
        return self._begin + self._speed * timedelta(seconds=time.time() - self._start)

    def variables(self) -> dict[str, str]:
        """Those of a process that starts now. Raises BinaryError."""
        ahead = (self.now() - datetime.now(UTC)).total_seconds()
        return faketime.variables(f"+{ahead:.3f}s x{self._speed:g}")


class FastStack:
    """Used in a `with` statement, up to `evidence`. Raises StackError if it is not up when the day begins."""

    def __init__(self, day: Day, speed: float, folder: Path) -> None:
        self.day, self._folder = day, folder
        folder.mkdir()
        self._clock = Clock(day.begin - speed * timedelta(seconds=LEAD_SECONDS), speed)
        self._environ: dict[str, str] = {}
        self._until = time.monotonic() + LEAD_SECONDS + (day.slots[-1] - day.begin).total_seconds() / speed

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            nats, mongod = closing.enter_context(NatsServer()), closing.enter_context(Mongod())
            market = closing.enter_context(Market(clock=self._clock.now))
            self._ledger = closing.enter_context(Ledger(nats.url, mongod.url))
            self._environ = {
                "NATS_URL": nats.url,
                "MONGO_URL": mongod.url,
                "SCHEDULE": SCHEDULE,
                "SCHEDULE_TZ": self.day.zone,
                "COINGECKO_URL": market.url,
                "DEFILLAMA_URL": market.url,
            }
            self._ask("provision")
            self._stub = self._start(closing, "api_stub", HTTP_PORT=str(ports.free()))
            self._worker = self._start(closing, "worker", HEALTH_PORT=str(ports.free()))
            for service in (self._stub, self._worker):
                service.wait_for_line("[NATS] Connected", LEAD_SECONDS)
            if self._clock.now() >= self.day.begin:
                raise StackError(f"{self.day.name}: the services were not up when the day began; see {self._folder}")
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def stored(self) -> int:
        return len(self._ledger.slots(self.day.begin - timedelta(seconds=1)))

    @property
    def is_over(self) -> bool:
        """True when the last slot is stored, is too late, or cannot come any more."""
        late = time.monotonic() - self._until
        is_dead = any(service.status is not None for service in (self._stub, self._worker))
        return is_dead or late > PATIENCE_SECONDS or (late > 0 and self.day.slots[-1] in self._ledger.slots())

    def evidence(self) -> Evidence:
        """Ask for the audit, and stop the services, the API stub when it has stored all."""
        # Its status is 1 when slots are missing.
        audit = json.loads(self._ask("audit", "--json", "--since", self.day.begin.isoformat(), accepted=(0, 1)))
        stops = {"worker": self._worker.stop()}
        eventually(lambda: is_drained(self._ledger.consumer()), PATIENCE_SECONDS)
        consumer, stops["api_stub"] = self._ledger.consumer(), self._stub.stop()
        return Evidence(self._ledger.events(), len(self._ledger.dead_letters()), consumer, audit, stops)

    def _start(self, closing: ExitStack, module: str, **environ: str) -> Service:
        service = self._service(module, module, environ)
        closing.callback(service.close)
        return service

    def _ask(self, *command: str, accepted: Sequence[int] = (0,)) -> str:
        """What a command of the stack prints. Raises StackError if its exit status is not an accepted one."""
        service = self._service(command[0], "stack", {}, *command)
        try:
            if (status := service.process.wait()) not in accepted:
                raise StackError(f"{command[0]} ended with status {status}: see {self._folder}/{command[0]}.log")
            return "\n".join(service.lines)
        finally:
            service.close()

    def _service(self, name: str, module: str, environ: Mapping[str, str], *arguments: str) -> Service:
        return Service(module, self._folder / name, {**self._environ, **environ, **self._clock.variables()}, *arguments)


def is_drained(consumer: Consumer | None) -> bool:
    return consumer is not None and consumer == Consumer(0, 0, consumer.last_seq, consumer.last_seq)
