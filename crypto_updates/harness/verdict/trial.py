"""A server under test in a stack of its own, and what an item asks of it."""

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient

from crypto_updates.bus.event import text
from crypto_updates.harness import monitor
from crypto_updates.harness.app import App
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.verdict import usual
from crypto_updates.harness.verdict.candidate import Candidate, prices_at
from crypto_updates.harness.verdict.halt import LOOK_SECONDS, Halt
from crypto_updates.harness.verdict.item import FailedError, Flaw
from crypto_updates.harness.verdict.known import Known
from crypto_updates.harness.verdict.watch import Mark, MongoWatch, ProbeWatch, Watch
from crypto_updates.local.errors import StackError

REACTION_SECONDS = 10.0
AGAIN_SECONDS = 30.0
# Between the events that are sent until one is reacted to.
_EVENT_EVERY_SECONDS = 1.0
_MAX_QUIET_SECONDS = 10.0
_COUNT_EVERY_SECONDS = 0.2
_MAX_COUNT_SECONDS = 60.0
_SUBSCRIBED_EVERY_SECONDS = 0.05
_IN_HAND_SECONDS = 0.3
# How long nats-server may take to notice that a process has ended.
_GONE_SECONDS = 5.0
_SHOWN_LINES = 3
# Young enough for a server that refuses old events, and old enough for one that refuses events of the future.
_FIRST_SLOT_AGE = timedelta(minutes=10)
_SLOT = timedelta(seconds=1)


class Trial:
    def __init__(
        self, candidate: Candidate, crypto: Crypto, client: MongoClient[dict[str, Any]], known: Known, halt: Halt
    ) -> None:
        """`client`: of the stack's mongod."""
        self.candidate = candidate
        self.crypto = crypto
        self.watch: Watch = MongoWatch(known, crypto.reactions, client)
        if candidate.probe:
            self.watch = ProbeWatch(known, candidate.probe, int(crypto.env()["PORT"]))
        self.halt = halt
        self.known = known
        # It still reacts to events of an item that is over.
        self.is_behind = False
        self._app: App | None = None
        self._slot = datetime.now(UTC).replace(microsecond=0) - _FIRST_SLOT_AGE
        # So that each event changes what the server stores, and each by another amount.
        self._random = random.Random(16)  # noqa: S311 - prices, no secrets

    @property
    def started(self) -> bool:
        return self._app is not None

    @property
    def app(self) -> App:
        if self._app is None:
            raise StackError("the server was not started")
        return self._app

    def launch(self) -> None:
        """Start the server, and do not wait for it."""
        if self._app:
            # What the last run leaves behind for a moment would pass for a subscription of the next one.
            self.halt.until(lambda: not self.connected(), _GONE_SECONDS)
            self._app.start()
            return
        command, folder = self.candidate.command, self.candidate.cwd
        given = self.candidate.variables(self.crypto.env())
        self._app = self.crypto.app(*command, cwd=folder, env=given, subscribes=None)

    def start(self, within: float) -> float:
        """Start the server, and return the seconds until it has subscribed. Raises FailedError."""
        self.launch()
        begin = time.monotonic()
        self.await_subscription(within, "its start")
        return time.monotonic() - begin

    def await_subscription(self, within: float, after: str, begin: float | None = None) -> None:
        """Raises FailedError `within` seconds after what is named `after`, which was at `begin`, or is now."""
        left = within if begin is None else max(begin + within - time.monotonic(), 0.0)
        if not self.wait(self.subscribed, left, _SUBSCRIBED_EVERY_SECONDS):
            missing = f"not subscribed to {self.candidate.subject} {within:.0f} s after {after}"
            raise FailedError(Flaw.DEAF, f"{missing}; {self._presence()}")

    def end(self) -> None:
        """End the process, if it runs."""
        if self._app:
            self._app.stop()

    def kill(self) -> None:
        """End the process at once, if it runs."""
        if self._app:
            self._app.kill()

    def lives(self) -> bool:
        """True. Raises FailedError if the server has ended."""
        if self.app.status is None:
            return True
        self.app.process.wait()  # for its last lines
        raise FailedError(Flaw.ENDS, f"the process ended with status {self.app.status}: {_last_words(self.lines())}")

    def lines(self) -> list[str]:
        """The server's output so far."""
        return self._app.lines if self._app else []

    def subscribed(self) -> bool:
        return bool(self.crypto.subscribers(self.candidate.subject))

    def connected(self) -> bool:
        return bool(monitor.clients(self.crypto.nats))

    def open_usual_ports(self) -> bool:
        """Lead them to this stack. False if both are taken, for example by servers of the user's own."""
        self.known.usual_ports = True
        return usual.open_ports(self.crypto)

    def uses_jetstream(self) -> bool:
        return any(found.consumer for found in self.crypto.subscribers(self.candidate.subject))

    def wait(self, holds: Callable[[], object], within: float, every: float = LOOK_SECONDS) -> bool:
        """True once it holds, False after `within` seconds. Raises FailedError when the server ends."""
        return self.halt.until(lambda: self.lives() and holds(), within, every)

    def rest(self, seconds: float) -> None:
        """Raises FailedError when the server ends."""
        self.wait(lambda: False, seconds)

    def settle(self, within: float = _MAX_QUIET_SECONDS) -> None:
        """Wait until no reaction has come for a while."""
        last = self.watch.activity()

        def moves() -> bool:
            nonlocal last
            before, last = last, self.watch.activity()
            return last != before

        end = time.monotonic() + within
        while self.wait(moves, self.known.quiet) and time.monotonic() < end:
            continue

    def send(self, copies: int = 1) -> None:
        """Publish the next event, and give the market new prices."""
        self._slot += _SLOT
        prices = self.crypto.market.prices
        prices.update({coin: round(self._random.uniform(1, 50_000), 2) for coin in prices})
        self.send_again(copies)

    def send_again(self, copies: int = 1) -> None:
        """Publish the latest event once more."""
        subject, body = self.candidate.subject, self.candidate.event(text(self._slot))
        slot = self._slot if self.candidate.has_identity else None
        data = prices_at(self._slot, self.crypto.market.prices) if body is None else {}
        self.crypto.publish(slot, body, copies=copies, subject=subject, **data)

    def send_body(self, body: bytes) -> None:
        self.crypto.publish(body=body, subject=self.candidate.subject)

    def send_in_hand(self, events: int) -> None:
        """Publish so many, and return when the server is at work on them."""
        asked = len(self.crypto.market.requests)
        for _ in range(events):
            self.send()
        self.wait(lambda: len(self.crypto.market.requests) > asked, _IN_HAND_SECONDS)

    def react(self, within: float = REACTION_SECONDS) -> float:
        """Send an event, and return the seconds until the server has reacted. Raises FailedError."""
        mark = self.watch.mark()
        begin = time.monotonic()
        self.send()
        if not self.wait(lambda: self.watch.reacted(mark), within):
            raise self.idle(within)
        return time.monotonic() - begin

    def idle(self, seconds: float) -> FailedError:
        told = filter(None, [f"no reaction to an event within {seconds:.0f} s", self.watch.state])
        return FailedError(Flaw.IDLE, "; ".join(told))

    def recover(self, after: str, within: float = AGAIN_SECONDS) -> str:
        """Wait until the server reacts to new events again. What it did not hear meanwhile is not its fault."""
        begin = time.monotonic()
        self.await_subscription(within, after)
        subscribed = time.monotonic() - begin
        mark = self.watch.mark()
        while not self._reacts_soon(mark):
            if time.monotonic() - begin > within:
                raise FailedError(Flaw.IDLE, f"subscribed, but no reaction {within:.0f} s after {after}")
        reacted = time.monotonic() - begin
        self.settle()
        self.react()
        return f"subscribed {subscribed:.1f} s, reacted {reacted:.1f} s after {after}"

    def count(self, since: Mark, wanted: int, within: float = REACTION_SECONDS) -> int:
        """How many events were reacted to: all that are wanted, or what there is when no more came `within` seconds.

        After a minute it is all that are wanted, too, if they still come.
        """
        found = self.watch.events(since)
        end = time.monotonic() + _MAX_COUNT_SECONDS
        while found < wanted:
            more = self._more(since, found, within)
            if more == found:
                return found
            found = more
            if time.monotonic() > end:
                self.is_behind = True
                return wanted
        return found

    def _more(self, since: Mark, than: int, within: float) -> int:
        found = than

        def counted() -> bool:
            nonlocal found
            found = self.watch.events(since)
            return found > than

        self.halt.until(counted, within, _COUNT_EVERY_SECONDS)
        return found

    def _reacts_soon(self, since: Mark) -> bool:
        self.send()
        return self.wait(lambda: self.watch.reacted(since), _EVENT_EVERY_SECONDS)

    def _presence(self) -> str:
        """What nats-server knows of the server."""
        if not self.connected():
            taken = f"; another program has the port {usual.NATS_PORT}" if usual.is_nats_taken(self.crypto) else ""
            return f"it is not connected to NATS{taken}"
        subjects = sorted({found.subject for found in monitor.subscriptions(self.crypto.nats)})
        return f"it is connected to NATS, and listens to {', '.join(subjects) or 'nothing'}"


def _last_words(lines: Sequence[str]) -> str:
    """The last lines that are no part of a traceback."""
    told = [line.strip() for line in lines if line.strip() and not line.startswith((" ", "Node.js v"))]
    return " | ".join(told[-_SHOWN_LINES:])
