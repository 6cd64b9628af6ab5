"""A machine with all of it: both servers, the services, a disk for each that keeps data, and one power supply."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from crypto_updates.clock.cron import Cron
from crypto_updates.local import ports
from crypto_updates.local.servers import Mongod, NatsServer
from tests.chaos.checker import Consumer, Feed, Violation, check
from tests.chaos.disk import Disk, power_cut
from tests.chaos.history import History
from tests.chaos.ledger import FEED, Ledger
from tests.chaos.load import Load
from tests.chaos.member import Service
from tests.support import HANG_SECONDS, eventually

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
CRON = Cron("* * * * * *")
# Seconds for a service to be up, and for everything to come to rest, which may take an ack wait or two.
START, REST = 20.0, 40.0


class Machine:
    """The servers run while this is entered, the services from `start` on. `config` is the nats-server's."""

    def __init__(self, folder: Path, config: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.nats_disk, self.mongod_disk, self.worker_disk = (Disk(folder, name) for name in ("nats", "mongod", "work"))
        self.nats = NatsServer(self.nats_disk.path / "data", config=config)
        self.mongod = Mongod(self.mongod_disk.path / "data")
        self.history = History()
        self.cuts = 0
        self._folder = folder
        self.services: list[Service] = []
        self._workers: list[Service] = []
        self.begun: datetime | None = None
        self._clock = time.monotonic()
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            for part in (self.nats_disk, self.mongod_disk, self.worker_disk, self.nats, self.mongod):
                closing.enter_context(part)
            self.ledger = closing.enter_context(Ledger(self.nats.url, self.mongod.url))
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    def start(self, module: str) -> Service:
        """A service that is connected to NATS."""
        number = len(self.services)
        environ = {
            "NATS_URL": self.nats.url,
            "MONGO_URL": self.mongod.url,
            "HTTP_PORT": str(ports.free()),
            "HEALTH_PORT": str(ports.free()),
            "OUTBOX_DIR": str(self.worker_disk.path / f"outbox{number}"),
            "MARKET_SOURCE": "simulated",
            "SCHEDULE": CRON.expression,
            "MISSED_SLOTS": "all",
        }
        service = Service(module, self._folder / f"{number}-{module.replace('.', '-')}", environ)
        self._closing.callback(service.close)
        self.services.append(service)
        service.wait_for_line("[NATS] Connected", START)
        return service

    def start_workers(self, *modules: str) -> None:
        """From here on, each slot is expected to be stored."""
        self._workers = [self.start(module) for module in modules]
        assert eventually(lambda: bool(self.ledger.slots()), START), "no slot was stored"
        self.begun = datetime.now(UTC)

    def load(self, rate: float) -> Load:
        return Load(self.nats.url, self.history, seed="machine", rate=rate)

    def acknowledges(self, more: int, within: float = HANG_SECONDS) -> bool:
        """True once so many more events have been acknowledged."""
        enough = self.history.acked + more
        return eventually(lambda: self.history.acked >= enough, within)

    def stores(self, more: int, within: float = HANG_SECONDS) -> bool:
        """True once so many more slots are stored."""
        enough = len(self.ledger.slots()) + more
        return eventually(lambda: len(self.ledger.slots()) >= enough, within)

    def drained(self, within: float) -> bool:
        """True once the API stub has acknowledged all that the stream has."""

        def holds() -> bool:
            consumer = self.ledger.consumer()
            return consumer is not None and consumer == Consumer(0, 0, consumer.last_seq, consumer.last_seq)

        return eventually(holds, within)

    def cut(self, *, services: bool = True) -> None:
        """The power of the whole machine, or of the servers alone, goes and comes back, and all is started again."""
        died: Sequence[Service] = self.services if services else ()
        power_cut([self.nats, self.mongod, *died], [self.nats_disk, self.mongod_disk, *[self.worker_disk] * bool(died)])
        self.cuts += 1
        for server in (self.nats, self.mongod):
            server.start()
        for service in died:
            service.restart()

    def settle(self, what: str) -> list[Violation]:
        """End the workers, wait until nothing is left to do, and return what is wrong; `what` names the figures."""
        feeds = [self._feed(self.begun)] if self.begun else []
        for feed in feeds:
            eventually(lambda feed=feed: not set(feed.slots) - self.ledger.slots(), REST)  # type: ignore[misc]
        for worker in self._workers:
            worker.stop()
        self.drained(REST)
        return self.verdict(what, feeds, self.ledger.consumer())

    def verdict(self, what: str, feeds: Sequence[Feed] = (), consumer: Consumer | None = None) -> list[Violation]:
        operations, events, letters = self.history.operations, self.ledger.events(), self.ledger.dead_letters()
        found = check(operations, events, letters, feeds=feeds, consumer=consumer)
        tell(f"{what}: {self.cuts} cuts", self.history, sum(len(feed.slots) for feed in feeds), found, self._clock)
        return found

    def _feed(self, begun: datetime) -> Feed:
        now = datetime.now(UTC)
        edge = [*CRON.between(begun - MINUTE, begun), *CRON.between(now - SECOND, now + MINUTE)]
        return Feed(FEED, list(CRON.between(begun, now - SECOND)), edge, "simulated")


def tell(what: str, history: History, slots: int, found: Sequence[Violation], begin: float) -> None:
    """Print the figures in a line, with the first of the violations. `begin`: by the monotonic clock."""
    lost, twice, missed = (sum(violation.invariant == kind for violation in found) for kind in ("I1", "I2", "I4"))
    shown = "".join(f"; {violation}" for violation in found[:1])
    print(  # noqa: T201 - what the test's figures are
        f"{what}, {history.acked} events acknowledged, {lost} lost, {twice} stored twice, {slots} slots, {missed}"
        f" missed or extra, {len(found)} violations in all, {time.monotonic() - begin:.1f} s{shown}"
    )
