"""`audit --repair`: publishes the missing slots as a worker would have, oldest first."""

import asyncio
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from api_stub.errors import StoreUnavailableError
from api_stub.mongo import Document
from api_stub.reader import Reader
from api_stub.subscriber import stored
from crypto_updates.bus import event, history, trace
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.errors import BusError, InvalidEventError, UnreachableError
from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import SECOND, Cron
from crypto_updates.clock.slots import Gap
from crypto_updates.service import errors, lifecycle
from stack.check.target import CheckSettings, Database
from worker import tick
from worker.config import WorkerSettings
from worker.market import Market, MarketError, UnknownCoinsError, open_market

NATS_SECONDS = 10.0
# A repair can wait until a source that limits the requests of a minute answers again.
FETCH_SECONDS = 120.0
# When fetches in a row have failed for so long, the source is down, and the other slots would fail too.
MAX_FAILING_SECONDS = 60.0
PROGRESS_SECONDS = 10.0
# Between the arrivals of two events in MongoDB.
ARRIVAL_SECONDS = 6.0
POLL_SECONDS = 0.05
# The clocks of the worker and of nats-server may differ by this.
CLOCKS = timedelta(minutes=1)

Say = Callable[[str], None]


class RepairSettings(CheckSettings, WorkerSettings):
    """What an audit reads, and the market."""


@dataclass
class Repair:
    """What became of the missing slots.

    The stream had the `known` ones already, and `restored` of them are in MongoDB again. The `published` ones are new,
    and `waiting` of them are not in MongoDB yet. `bare` is how many of both have no data. The others are `left` for the
    next repair, which may get their data; `problem` says why.
    """

    missing: int
    published: list[datetime] = field(default_factory=list)
    known: int = 0
    restored: int = 0
    waiting: int = 0
    bare: int = 0
    sources: set[str] = field(default_factory=set)
    problem: str | None = None

    @property
    def left(self) -> int:
        return self.missing - len(self.published) - self.known

    @property
    def without_data(self) -> int:
        return self.bare + self.left


async def run(settings: RepairSettings, gaps: Sequence[Gap], database: Database, say: Say) -> Repair:
    """Publish the slots of the gaps. A signal stops it after the slot in hand."""
    done = Repair(sum(gap.slots for gap in gaps))
    if not gaps:
        return done
    say(f"Repair: publishing {done.missing} missing slots, oldest first")
    work = asyncio.ensure_future(_fill(settings, gaps, database, done, say))
    with _stopping(work):
        try:
            await work
        except asyncio.CancelledError:
            done.problem = "stopped by a signal"
        except (BusError, StoreUnavailableError, *LINK_ERRORS) as error:
            done.problem = errors.text(error)
    return done


async def absent(published: Sequence[datetime], settings: RepairSettings, reader: Reader) -> int:
    """How many slots MongoDB does not have when none has come for ARRIVAL_SECONDS, or when it does not answer.

    Those are not waited for that have become older than MAX_EVENT_AGE meanwhile.
    """
    waiting = list(published)
    with suppress(StoreUnavailableError):
        kept = await reader.beginning(settings, datetime.now(UTC))
        waiting = [slot for slot in published if not (kept.at and slot < kept.at)]
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while waiting:
            if await reader.stored(settings, waiting[0], waiting[0]):
                deadline = time.monotonic() + ARRIVAL_SECONDS
                waiting.pop(0)
            elif time.monotonic() > deadline:
                break
            else:
                await asyncio.sleep(POLL_SECONDS)
    return len(waiting)


async def _fill(settings: RepairSettings, gaps: Sequence[Gap], database: Database, done: Repair, say: Say) -> None:
    """Raises BusError, StoreUnavailableError or one of LINK_ERRORS."""
    failing, told = 0.0, time.monotonic()
    async with open_market(settings) as market, Bus(settings, "audit") as bus:
        connection = await bus.connection(NATS_SECONDS)
        known = await _known(connection, settings.feed, gaps[0].first)
        for number, slot in enumerate(_slots(settings.cron, gaps)):
            begin = time.monotonic()
            if begin - told > PROGRESS_SECONDS:
                say(f"Repair: {number} of {done.missing}")
                told = begin
            if seqs := known.get(slot):
                await _restore(connection, seqs, database, done)
                continue
            try:
                made = await _make(slot, tick.knowing(market, slot, settings.cron))
            except MarketError as error:
                done.problem, failing = str(error), failing + time.monotonic() - begin
                if failing > MAX_FAILING_SECONDS:
                    return
            else:
                failing = 0.0
                await lifecycle.finish(_publish(made, settings, bus, done))
            await asyncio.sleep(tick.rest(time.monotonic() - begin))


async def _known(connection: Connection, feed: str, first: datetime) -> dict[datetime, list[int]]:
    """The slots from the first one on that the stream has, with the sequences of their events.

    Raises one of LINK_ERRORS.
    """
    found: dict[datetime, list[int]] = {}
    for published in await history.newest(connection, feed, lambda event: event.stored < first - CLOCKS):
        found.setdefault(published.slot, []).append(published.seq)
    return found


async def _restore(connection: Connection, seqs: Sequence[int], database: Database, done: Repair) -> None:
    """Store what the stream has and MongoDB has not: NATS does not deliver again what was acknowledged once.

    Raises StoreUnavailableError or one of LINK_ERRORS.
    """
    copies = [copy for seq in seqs if (copy := await _copy(connection, seq))]
    written = await database.store.add_events(copies) if copies else None
    done.known += 1
    done.restored += bool(written and not written.rejected)
    done.bare += not any(copy.get("data") for copy in copies)


async def _copy(connection: Connection, seq: int) -> Document | None:
    """The event as the API stub would have stored it, None if the stream has it no more. Raises one of LINK_ERRORS."""
    found = await history.message(connection, seq)
    with suppress(InvalidEventError):
        if found:
            headers, body = found
            identity, traceparent = headers.get(event.MSG_ID, ""), trace.given(headers)
            return stored(identity, event.parse(body), seq, datetime.now(UTC), traceparent)
    return None


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
    """Raises UnreachableError with what the server says, if it says something."""
    sending = tick.publish(made.timestamp, event.encode(made), settings, bus)
    try:
        await asyncio.wait_for(sending, NATS_SECONDS)
    except TimeoutError as error:
        silence = f"NATS did not acknowledge an event within {NATS_SECONDS:.0f} s"
        raise UnreachableError(bus.refusal or silence) from error
    done.published.append(made.timestamp)
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
