"""What is checked of a running stack. A check returns what it found, or raises what is wrong and what to do about it.

Each check takes what the ones before it have put into the Stack; without that it is skipped.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any

import httpx
import nats.errors
from nats.js.api import ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError, ServiceUnavailableError
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from api_stub import feed
from api_stub.store import brief, direct
from crypto_updates.bus.client import Bus
from crypto_updates.bus.connection import LINK_ERRORS, Connection, reason
from crypto_updates.bus.errors import JetStreamMissingError
from crypto_updates.bus.event import text
from crypto_updates.bus.stream import DAY, DURABLE, STREAM, consumer_config, stream_config
from crypto_updates.clock import slots
from crypto_updates.service import errors
from crypto_updates.service.config import redacted
from stack.check.target import API, FailedError, SkippedError, Stack

# Seconds for an answer.
JETSTREAM, MONGO = 2.0, 4.0
# Seconds for a connection to come back.
BACK = 15.0
# More than the API stub's own deadline for MongoDB, so that it has the time to say what is wrong.
HTTP = 11.0
WINDOW = timedelta(days=1)
NAMED = 3

PROVISION = "run `crypto-updates provision` (docker compose up provision)"
NATS = "see the NATS server's log (docker compose logs nats)"
DELIVERY = "see to the event delivery first"
MISSING = (
    "`python -m worker --once --slot TIME` makes up for one; MISSED_SLOTS decides after an outage; if SCHEDULE was"
    " changed since then, these were never slots"
)
WORKER = "see the worker's log (docker compose logs worker); FEED, SCHEDULE and SCHEDULE_TZ must be the worker's"


async def nats_answers(stack: Stack) -> str:
    problems = []
    for url in stack.settings.nats_url:
        connection = Connection(url)
        stack.closing.push_async_callback(connection.close)
        try:
            await connection.open(stack.settings, "verify")
            begin = time.perf_counter()
            await connection.nc.flush(2)
        except LINK_ERRORS as error:
            problems.append(reason(error, connection.url))
        else:
            stack.connection = connection
            return f"{connection.url}, round trip {_ms(time.perf_counter() - begin)}"
    problem, _, advice = problems[0].partition(": ")
    raise FailedError("; ".join([problem, *problems[1:]]), f"{advice}, and NATS_URL")


async def stream_is_right(stack: Stack) -> str:
    connection = stack.nats()
    if stack.settings.delivery == "core":
        return "not used with DELIVERY=core"
    js = connection.jetstream(JETSTREAM)
    try:
        stream = await js.stream_info(STREAM)
        connection.js = js
        consumer = await js.consumer_info(STREAM, DURABLE)
    except NotFoundError as error:
        missing = f"consumer {DURABLE}" if connection.js else f"stream {STREAM}"
        raise FailedError(f"{missing}: {error.description}", PROVISION) from error
    except ServiceUnavailableError as error:
        problem, _, advice = str(JetStreamMissingError()).partition(": ")
        raise FailedError(problem, advice.rstrip(".")) from error
    except nats.errors.TimeoutError as error:
        connection.js = js  # publishing may be permitted all the same
        raise FailedError("the server does not tell", "verify as a NATS_USER who may ask about streams") from error
    if differing := differences(stream.config, consumer.config):
        raise FailedError(", ".join(differing), f"{PROVISION}; a consumer, and storage, must be deleted first")
    return f"stream {STREAM}, consumer {DURABLE}, {consumer.num_pending or 0} events waiting"


def differences(stream: StreamConfig, consumer: ConsumerConfig) -> list[str]:
    """The settings that the promises rest on, where they are not as they should be."""
    compared = (
        (stream, stream_config(1), ("storage", "retention", "discard")),
        (consumer, consumer_config(), ("ack_policy", "max_deliver")),
    )
    found = [
        f"{name} is {_value(getattr(has, name))} and not {_value(getattr(wanted, name))}"
        for has, wanted, names in compared
        for name in names
        if getattr(has, name) != getattr(wanted, name)
    ]
    window = stream.duplicate_window or 0
    return found + ([f"duplicate_window is {window:.0f} s and not {DAY:.0f} s or more"] if window < DAY else [])


async def mongo_answers(stack: Stack) -> str:
    url, milliseconds = stack.settings.mongo_url, int(MONGO * 1000)
    try:
        client = AsyncMongoClient[dict[str, Any]](
            url, tz_aware=True, timeoutMS=milliseconds, directConnection=direct(url)
        )
        stack.closing.push_async_callback(client.close)
        hello = await client.admin.command("hello")
        begin = time.perf_counter()
        await client.admin.command("ping")
    except (PyMongoError, ValueError) as error:
        advice = "verify that MongoDB is running (docker ps), and MONGO_URL"
        raise FailedError(f"{redacted(url)}: {brief(error)}", advice) from error
    if not hello["isWritablePrimary"]:
        raise FailedError(f"{redacted(url)} takes no writes: it is no primary", PROVISION)
    stack.events = client[stack.settings.mongo_db].events
    return f"{redacted(url)}, round trip {_ms(time.perf_counter() - begin)}"


async def event_arrives(stack: Stack) -> str:
    connection = stack.publisher()
    seconds = await stack.send(connection.publish)
    stack.delivers = True
    return f"published now, in MongoDB after {_ms(seconds)}"


async def schedule_is_kept(stack: Stack) -> str:
    name, now = stack.settings.feed, datetime.now(UTC)
    advice = WORKER if stack.delivers else DELIVERY
    newest = await feed.newest(stack.mongo(), name, now)
    if newest is None:
        upcoming = text(stack.cron.next(now))
        raise FailedError(f"no event of feed {name} is stored; the next slot is {upcoming}", advice)
    due = stack.cron.previous(now - slots.grace(stack.cron, now))
    if newest < due:
        raise FailedError(f"the newest event of feed {name} is {text(newest)}; {text(due)} was due", advice)
    return f"newest event of feed {name}: {text(newest)}"


async def no_slot_is_missing(stack: Stack) -> str:
    events, name, now = stack.mongo(), stack.settings.feed, datetime.now(UTC)
    first = await feed.beginning(events, name, now)
    if first is None:
        raise SkippedError(f"no event of feed {name} is stored")
    start, end = max(first, now - WINDOW), now - slots.grace(stack.cron, now)
    stored = await feed.stored(events, name, start, end)
    # In a thread, because a day has up to 86,400 slots.
    row = await asyncio.to_thread(slots.compare, stack.cron, start, end, stored)
    count, since = f"{row.expected} slot{'' if row.expected == 1 else 's'}", f"since {text(start)}"
    if row.gaps:
        raise FailedError(f"{row.missing} of {count} {since}: {slots.named(row.gaps, NAMED)}", MISSING)
    return f"{count} {since}, all stored"


async def api_is_ready(stack: Stack) -> str:
    url = f"{stack.settings.api_url.rstrip('/')}/readyz"
    try:
        async with httpx.AsyncClient(timeout=HTTP, trust_env=False) as client:
            begin = time.perf_counter()
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        problem = f"{redacted(url)}: {errors.text(error)}"
        raise FailedError(problem, "verify that the API stub is running (docker ps), and API_URL") from error
    if answer.status_code != HTTPStatus.OK:
        raise FailedError(f"{redacted(url)} answers {answer.status_code}: {_reasons(answer)}", API)
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
        cut(lost)
        try:
            async with asyncio.timeout(BACK):
                while await bus.connection() is lost:  # noqa: ASYNC110 - the bus does not announce a new connection
                    await asyncio.sleep(0.01)
        except TimeoutError as error:
            raise FailedError(f"{what}: not back after {BACK:.0f} s", NATS) from error
        back = time.perf_counter() - begin
        return f"{what}: back after {_ms(back)}, event after {_ms(await stack.send(bus.publish))}"


def cut(connection: Connection) -> None:
    """Break the TCP connection off, with no word to either side's protocol."""
    transport: Any = connection.nc._transport  # noqa: SLF001 - a client has no public way to lose its connection
    transport._io_writer.transport.abort()  # noqa: SLF001 - the same


def _reasons(answer: httpx.Response) -> str:
    try:
        return "; ".join(map(str, answer.json()["reasons"]))
    except (ValueError, KeyError, TypeError):
        return " ".join(answer.text.split())[:200]


def _value(setting: object) -> object:
    return getattr(setting, "value", setting)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
