"""The checks of a running stack. A check returns what it found, or raises FailedError with what to do.

A check that needs what an earlier one did not put into the Stack is skipped.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import NamedTuple

import httpx

from api_stub import retention
from api_stub.errors import StoreUnavailableError
from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.bus import figures
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.errors import BusError, reason
from crypto_updates.bus.event import text
from crypto_updates.bus.figures import NATS_LOG, PROVISION, AbsentError, FiguresError
from crypto_updates.bus.stream import DURABLE, PROBE, STREAM
from crypto_updates.clock import slots
from crypto_updates.service import errors
from crypto_updates.service.config import redacted
from stack.check.target import API_LOG, Database, FailedError, SkippedError, Stack

MONGO_SECONDS = 4.0
RECONNECTION_SECONDS = 15.0
# Longer than the API stub waits for MongoDB, so that it can still say what is wrong.
HTTP_SECONDS = 11.0
LOOK_BACK = timedelta(days=1)
MAX_NAMED_GAPS = 3

MISSING_ADVICE = (
    "`crypto-updates audit --repair` publishes them; MISSED_SLOTS decides after an outage; if SCHEDULE was changed"
    " since then, these were never slots"
)
WORKER_ADVICE = "see the worker's log (docker compose logs worker); FEED, SCHEDULE and SCHEDULE_TZ must be the worker's"


async def nats_answers(stack: Stack) -> str:
    problems = []
    for url in stack.settings.nats_url:
        connection = Connection(url)
        stack.closing.push_async_callback(connection.close)
        try:
            await connection.open(stack.settings, "verify")
            seconds = await connection.ping()
        except LINK_ERRORS as error:
            problems.append(reason(error, connection.url))
        else:
            stack.connection = connection
            return f"{connection.url}, round trip {_ms(seconds)}"
    problem, _, advice = problems[0].partition(": ")
    raise FailedError("; ".join([problem, *problems[1:]]), f"{advice}, and NATS_URL")


async def stream_is_right(stack: Stack) -> str:
    connection = stack.nats()
    if stack.settings.delivery == "core":
        return "not used with DELIVERY=core"
    connection.js = connection.jetstream()
    try:
        found = await figures.read(connection)
        differing = await figures.differences(connection, stack.settings.stream_replicas)
    except FiguresError as error:
        # Without a right to ask, this user may have the right to publish.
        stack.absent = error.problem if isinstance(error, AbsentError) else None
        raise FailedError(error.problem, error.advice) from error
    if differing:
        stack.absent = next((one for one in differing if PROBE in one), None)
        raise FailedError(", ".join(differing), f"{PROVISION}; a consumer, and storage, must be deleted first")
    return f"stream {STREAM}, consumer {DURABLE}, {found.pending if found else 0} events waiting"


async def mongo_answers(stack: Stack) -> str:
    url, name = stack.settings.mongo_url, stack.settings.mongo_db
    try:
        store = await stack.closing.enter_async_context(Store(url, name, MONGO_SECONDS))
        reader = await stack.closing.enter_async_context(Reader(url, name, MONGO_SECONDS))
        writable = await store.takes_writes()
        seconds = await store.ping()
    except StoreUnavailableError as error:
        advice = "verify that MongoDB is running (docker ps), and MONGO_URL"
        raise FailedError(f"{redacted(url)}: {error}", advice) from error
    if not writable:
        raise FailedError(f"{redacted(url)} takes no writes: it is not a primary", PROVISION)
    stack.database = Database(reader, store)
    return f"{redacted(url)}, round trip {_ms(seconds)}"


async def mongo_is_right(stack: Stack) -> str:
    found = await mongo_answers(stack)
    least = retention.least(stack.settings.cron, datetime.now(UTC))
    if lacks := await stack.mongo().reader.lacks(stack.settings.max_event_age, least):
        problem, _, advice = lacks[0].rpartition(": ")
        raise FailedError("; ".join([problem, *lacks[1:]]), advice)
    return found


async def event_arrives(stack: Stack) -> str:
    connection = stack.publisher()
    try:
        seconds = await stack.send(connection.publish)
    except (*LINK_ERRORS, BusError) as error:
        advice = f"{PROVISION}, and verify that NATS_USER may publish there"
        raise FailedError(f"{PROBE}: {errors.text(error)}", advice) from error
    stack.delivers = True
    return f"published now, in MongoDB after {_ms(seconds)}"


async def schedule_is_kept(stack: Stack) -> str:
    name, now = stack.settings.feed, datetime.now(UTC)
    advice = WORKER_ADVICE if stack.delivers else "mend the event delivery first"
    newest = await stack.mongo().reader.newest(stack.settings, now)
    if newest is None:
        upcoming = text(stack.settings.cron.next(now))
        raise FailedError(f"no event of feed {name} is stored; the next slot is {upcoming}", advice)
    due = slots.due(stack.settings.cron, now)
    if newest < due:
        raise FailedError(f"the newest event of feed {name} is {text(newest)}; {text(due)} was due", advice)
    event = (await stack.mongo().reader.stored(stack.settings, newest, newest)).get(newest)
    foreign = " (foreign: its id names no feed)" if event and event.foreign else ""
    return f"newest event of feed {name}: {text(newest)}{foreign}"


async def no_slot_is_missing(stack: Stack) -> str:
    reader, name, now = stack.mongo().reader, stack.settings.feed, datetime.now(UTC)
    first = (await reader.beginning(stack.settings, now)).at
    if first is None:
        raise SkippedError(f"no event of feed {name} is stored")
    start = max(first, now - LOOK_BACK).replace(microsecond=0)  # the slot of its second is asked for, too
    end = now - slots.grace(stack.settings.cron, now)
    stored = await reader.stored(stack.settings, start, end)
    # In a thread, because a day has up to 86,400 slots.
    row = await asyncio.to_thread(slots.compare, stack.settings.cron, start, end, stored)
    count, since = f"{row.expected} slot{'' if row.expected == 1 else 's'}", f"since {text(start)}"
    if row.gaps:
        raise FailedError(f"{row.missing} of {count} {since}: {slots.named(row.gaps, MAX_NAMED_GAPS)}", MISSING_ADVICE)
    foreign = f", {row.foreign} of them by foreign events, whose ids name no feed" if row.foreign else ""
    return f"{count} {since}, all stored{foreign}"


async def api_is_ready(stack: Stack) -> str:
    url = f"{stack.settings.api_url.rstrip('/')}/readyz"
    try:
        async with httpx.AsyncClient(timeout=HTTP_SECONDS, trust_env=False) as client:
            begin = time.perf_counter()
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = f"{redacted(url)}: {errors.text(error)}"
        raise FailedError(problem, "verify that the API stub is running (docker ps), and API_URL") from error
    if answer.status_code != HTTPStatus.OK:
        raise FailedError(f"{redacted(url)} answers {answer.status_code}: {_reasons(answer)}", API_LOG)
    return f"{redacted(url)} answers in {_ms(time.perf_counter() - begin)}"


async def disconnect_is_survived(stack: Stack) -> str:
    stack.publisher()
    stack.mongo()
    if not stack.delivers:
        raise SkippedError("no event arrives in MongoDB")
    async with Bus(stack.settings, "verify") as bus:
        lost = await bus.connection()
        what = f"this command's own connection to {lost.url} cut"
        begin = time.perf_counter()
        lost.cut()
        try:
            async with asyncio.timeout(RECONNECTION_SECONDS):
                while await bus.connection() is lost:  # noqa: ASYNC110 - the bus does not announce a new connection
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise FailedError(f"{what}: not back after {RECONNECTION_SECONDS:.0f} s", NATS_LOG) from error
        back = time.perf_counter() - begin
        return f"{what}: back after {_ms(back)}, event after {_ms(await stack.send(bus.publish))}"


class Check(NamedTuple):
    """It fails after `seconds`."""

    name: str
    seconds: float
    run: Callable[[Stack], Awaitable[str]]


# In this order.
CHECKS = (
    Check("NATS connection", 6, nats_answers),
    Check("JetStream", 5, stream_is_right),
    Check("MongoDB connection", 5, mongo_is_right),
    Check("Event delivery", 20, event_arrives),
    Check("Schedule kept", 5, schedule_is_kept),
    Check("No slot missing", 10, no_slot_is_missing),
    Check("HTTP API", 12, api_is_ready),
    Check("Reconnection", 30, disconnect_is_survived),
)


def _reasons(answer: httpx.Response) -> str:
    try:
        return "; ".join(map(str, answer.json()["reasons"]))
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())[:200]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
