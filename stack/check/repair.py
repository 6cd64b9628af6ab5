"""`audit --repair`: publishes the missing slots as a worker would have, oldest first."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from api_stub.mongo import Document
from api_stub.reader import Reader
from crypto_updates.bus import event, history
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.errors import BusError, InvalidEventError
from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import SECOND, Cron
from crypto_updates.clock.slots import Gap
from crypto_updates.service import errors, lifecycle
from stack.check.target import CheckSettings, Stack
from worker import tick
from worker.config import WorkerSettings
from worker.market import Market, MarketError, UnknownCoinsError, open_market

NATS_SECONDS = 10.0
# A repair can wait until a source that limits the requests of a minute answers again.
FETCH_SECONDS = 120.0
# After a fetch, rest twice as long as it took: this spares the source, and a slow one even more.
REST_SHARE, MAX_REST_SECONDS = 2.0, 5.0
# Then the source is down, and the other slots would fail too.
MAX_FAILURES_IN_A_ROW = 3
PROGRESS_SECONDS = 10.0
# Between the arrivals of two events in MongoDB.
ARRIVAL_SECONDS = 6.0
POLL_SECONDS = 0.05

Say = Callable[[str], None]


class RepairSettings(CheckSettings, WorkerSettings):
    """What an audit reads, and the market."""


@dataclass
class Repair:
    """What became of the missing slots.

    The stream had the `known` of the `published` ones already, with these sequences, and `restored` of them were not in
    MongoDB any more. `bare` went without data. The others are `left` for the next repair, which may get their data;
    `problem` says why.
    """

    missing: int
    published: list[datetime] = field(default_factory=list)
    known: dict[datetime, list[int]] = field(default_factory=dict)
    restored: int = 0
    bare: int = 0
    sources: set[str] = field(default_factory=set)
    problem: str | None = None

    @property
    def left(self) -> int:
        return self.missing - len(self.published)

    @property
    def without_data(self) -> int:
        return self.bare + self.left


async def run(settings: RepairSettings, gaps: Sequence[Gap], say: Say) -> Repair:
    """Publish the slots of the gaps. A signal stops it after the slot in hand."""
    done = Repair(sum(gap.slots for gap in gaps))
    if not gaps:
        return done
    say(f"Repair: publishing {done.missing} missing slots, oldest first")
    work = asyncio.ensure_future(_publish_all(settings, gaps, done, say))
    with _stopping(work):
        try:
            await work
        except asyncio.CancelledError:
            done.problem = "stopped by a signal"
        except (BusError, TimeoutError) as error:
            done.problem = errors.text(error)
    return done


async def arrival(published: Sequence[datetime], settings: RepairSettings, reader: Reader) -> None:
    """Return when MongoDB has all events, or when none has come for ARRIVAL_SECONDS. Raises StoreUnavailableError."""
    deadline = time.monotonic() + ARRIVAL_SECONDS
    for slot in published:
        while not await reader.stored(settings, slot, slot):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(POLL_SECONDS)
        deadline = time.monotonic() + ARRIVAL_SECONDS


async def restore(done: Repair, stack: Stack) -> None:
    """Store what the stream has and MongoDB has lost: NATS does not deliver it again, and takes it no second time.

    Raises StoreUnavailableError.
    """
    mongo = stack.mongo()
    try:
        for slot, seqs in done.known.items():
            if not await mongo.reader.stored(stack.settings, slot, slot):
                copies = [copy for seq in seqs if (copy := await _copy(stack.nats(), seq))]
                written = await mongo.store.add_events(copies) if copies else None
                done.restored += bool(written and not written.rejected)
    except LINK_ERRORS as error:
        done.problem = errors.text(error)


async def _copy(connection: Connection, seq: int) -> Document | None:
    """The event as the API stub would have stored it, None if the stream has it no more. Raises one of LINK_ERRORS."""
    found = await history.message(connection, seq)
    with suppress(InvalidEventError):
        if found:
            return {"_id": found[0], **event.parse(found[1]), "received_at": datetime.now(UTC), "stream_seq": seq}
    return None


async def _publish_all(settings: RepairSettings, gaps: Sequence[Gap], done: Repair, say: Say) -> None:
    failures, told = 0, time.monotonic()
    async with open_market(settings) as market, Bus(settings, "audit") as bus:
        await bus.connection(NATS_SECONDS)
        for number, slot in enumerate(_slots(settings.cron, gaps)):
            begin = time.monotonic()
            if begin - told > PROGRESS_SECONDS:
                say(f"Repair: {number} of {done.missing}")
                told = begin
            try:
                made = await _make(slot, tick.knowing(market, slot, settings.cron))
            except MarketError as error:
                done.problem, failures = str(error), failures + 1
                if failures == MAX_FAILURES_IN_A_ROW:
                    return
                continue
            took, failures = time.monotonic() - begin, 0
            await lifecycle.finish(_publish(made, settings, bus, done))
            await asyncio.sleep(min(REST_SHARE * took, MAX_REST_SECONDS))


def _slots(cron: Cron, gaps: Sequence[Gap]) -> Iterator[datetime]:
    for gap in gaps:
        yield from cron.between(gap.first - SECOND, gap.last)


async def _make(slot: datetime, market: Market | None) -> Event:
    """Raises MarketError if the data may still come: an event without would take the place of one that has them."""
    if market is None:
        return Event(timestamp=slot)
    try:
        return await tick.fetch(slot, market, FETCH_SECONDS)
    except UnknownCoinsError:
        return Event(timestamp=slot)


async def _publish(made: Event, settings: RepairSettings, bus: Bus, done: Repair) -> None:
    sending = tick.publish(made.timestamp, event.encode(made), settings.feed, bus, settings.cron)
    receipts = await asyncio.wait_for(sending, NATS_SECONDS)
    done.published.append(made.timestamp)
    if seqs := [receipt.seq for receipt in receipts if receipt.duplicate and receipt.seq]:
        done.known[made.timestamp] = seqs
    if made.data:
        done.sources.add(str(made.source))
    else:
        done.bare += 1


@contextmanager
def _stopping(work: asyncio.Future[None]) -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the work. Afterwards they end the process, like any other command's."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, work.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
