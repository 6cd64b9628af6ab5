"""The system under test as processes: servers, links, workers and API stubs, each of them kept alive."""

import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from crypto_updates.clock.cron import Cron
from crypto_updates.harness.link import Link
from crypto_updates.harness.loop import Loop
from crypto_updates.local import ports
from crypto_updates.local.errors import StackError
from tests.chaos.checker import Consumer, Feed, Recovery
from tests.chaos.ledger import FEED, Ledger
from tests.chaos.member import Member, Service, clock
from tests.chaos.servers import Servers
from tests.chaos.stalls import Stalls
from tests.support import eventually

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
# Seconds for everything to be up, or to have been started again.
START = 60.0


class Evidence(NamedTuple):
    """What was found when the stage had come to rest. `ends`: exit statuses after SIGTERM that are not 0."""

    events: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    consumer: Consumer | None
    feed: Feed
    backlog: Recovery
    ends: list[str]


class Stage:
    """`clocks`: a worker for each, whose clock is so many seconds ahead. `members`: servers of each kind. One alone is
    reached through links that can be broken. Logs are in `folder`, data is not kept.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clocks: Sequence[int] = (0,),
        stubs: int = 1,
        members: int = 1,
        schedule: str = "* * * * * *",
        missed_slots: str = "all",
    ) -> None:
        self.folder = folder
        self.servers = Servers(folder, members)
        self.members: list[Member] = []
        self.links: dict[str, Link] = {}
        self._services: list[Service] = []
        self.cron = Cron(schedule)
        self.clocks, self._stubs = clocks, stubs
        self._environ = {
            "MARKET_SOURCE": "simulated",
            "MISSED_SLOTS": missed_slots,
            "SCHEDULE": schedule,
            "OUTBOX_DIR": "outbox",
        }
        self._stalls = Stalls(folder)
        self._keepers, self._closing = ExitStack(), ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            closing.enter_context(self.servers)
            if len(self.servers.nats) == 1:
                nats, mongod = self.servers.nats[0], self.servers.mongods[0]
                for name, server in (("worker-nats", nats), ("stub-nats", nats), ("stub-mongo", mongod)):
                    self.links[name] = closing.enter_context(Link(server.port))
            environ = self.servers.environ
            self.ledger = closing.enter_context(Ledger(environ["NATS_URL"], environ["MONGO_URL"]))
            self._provision()
            self._start(closing)
            loop = closing.enter_context(Loop("stalls"))
            self._watching = loop.call(lambda: asyncio.ensure_future(self._stalls.watch()))
            self._closing = closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.heal()
        self._closing.close()

    def of(self, kind: str) -> list[Member]:
        """The members of a kind: nats, mongod, api_stub or worker."""
        return [member for member in self.members if member.kind == kind]

    def heal(self) -> None:
        """End the links' faults, every partition and every freeze. What was killed is the keepers' affair."""
        self.servers.heal()
        for link in self.links.values():
            link.heal()
        for member in self.members:
            member.signal(signal.SIGCONT)

    def leading(self, kind: str) -> Member | None:
        """The nats-server that leads the stream, or the primary; None while there is none, or nobody says so."""
        found, key = (self.ledger.leader(), "id") if kind == "nats" else (self.ledger.primary(), "address")
        return next((member for member in self.of(kind) if getattr(member.process, key) == found), None)

    def flows(self, within: float, *, everybody: bool = True) -> float | None:
        """Seconds from now until an event is stored that nobody could publish yet, and each service has done work if
        `everybody` is to; None if `within` is not enough. Stalls of this machine do not count.
        """
        begin, newest = time.monotonic(), datetime.now(UTC) + max(self.clocks) * SECOND

        def flowing() -> bool:
            working = not everybody or all(service.worked > begin for service in self._services)
            return working and bool(self.ledger.slots(newest))

        return self._stalls.until(flowing, within)

    def settle(self, within: float = 120.0) -> Evidence:
        """Heal all, wait for what is behind, restart all, wait until nothing is left to do (seconds for each step),
        and see what is there.
        """
        self.heal()
        due = set(self._feed(datetime.now(UTC)).slots)
        backlog = self._stalls.until(lambda: not due - self.ledger.slots(), within)
        for member in self.members:
            member.terminate()
        for member in self.members:
            member.await_end(START)
        until = datetime.now(UTC)
        feed = self._feed(until)
        eventually(lambda: not set(feed.slots) - self.ledger.slots(), within)
        for service in self._services:
            service.wait_for_line("[NATS] Connected", START, after=service.begin)
        self._keepers.close()
        for member in self.of("worker"):
            member.ends.append(member.process.stop())
        eventually(lambda: _drained(self.ledger.consumer()), within)
        return Evidence(
            self.ledger.events(),
            self.ledger.dead_letters(),
            self.ledger.consumer(),
            self._feed(until),
            Recovery("backlog, before the last restart", backlog),
            [f"{m.name}: status {s}" for m in self.members for s in m.ends if s and m.kind in ("worker", "api_stub")],
        )

    def _provision(self) -> None:
        service = Service("stack", self.folder / "provision", self.servers.environ, "provision")
        try:
            if status := service.process.wait(START):
                raise StackError(f"provision ended with status {status}: see {self.folder}/provision.log")
        finally:
            service.close()

    def _start(self, closing: ExitStack) -> None:
        self.members += self.servers.members()
        for number in range(1, self._stubs + 1):
            self._add(closing, "api_stub", number, {"HTTP_PORT": str(ports.free())})
        for number, ahead in enumerate(self.clocks, 1):
            self._add(closing, "worker", number, {"HEALTH_PORT": str(ports.free()), **clock(ahead)})
        closing.callback(self._keepers.close)
        for member in self.members:
            self._keepers.enter_context(member)
        if not eventually(lambda: bool(self.ledger.slots()), START):
            raise StackError(f"no event was stored within {START:.0f} s: see the logs in {self.folder}")
        self.begun = datetime.now(UTC)

    def _add(self, closing: ExitStack, kind: str, number: int, environ: Mapping[str, str]) -> None:
        reached = self.servers.environ
        if self.links:
            nats = self.links["worker-nats" if kind == "worker" else "stub-nats"]
            reached["NATS_URL"] = f"nats://127.0.0.1:{nats.port}"
            reached["MONGO_URL"] = f"mongodb://127.0.0.1:{self.links['stub-mongo'].port}"
        service = Service(kind, self.folder / f"{kind}{number}", {**self._environ, **reached, **environ})
        closing.callback(service.close)
        self._services.append(service)
        self.members.append(Member(f"{kind}{number}", kind, service))

    def _feed(self, until: datetime) -> Feed:
        """The slots that must be there by then; those that may be: from before all ran, and of fast clocks."""
        ahead = max(self.clocks) * SECOND
        edge = [
            *self.cron.between(self.begun - MINUTE, self.begun + ahead),
            *self.cron.between(until, datetime.now(UTC) + ahead),
        ]
        return Feed(FEED, list(self.cron.between(self.begun + ahead, until)), edge, "simulated")


def _drained(consumer: Consumer | None) -> bool:
    return consumer is not None and consumer == Consumer(0, 0, consumer.last_seq, consumer.last_seq)
