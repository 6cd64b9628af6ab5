"""`python -m stack audit`: the slots expected and stored over a span.

Exits 0 if none is missing, 1 if some are, 2 for bad use, and 3 where there is nothing to audit: MongoDB does not
answer, or has no event of the feed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import re
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import pymongo
from nats.js.errors import NotFoundError, ServiceUnavailableError
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from api_stub import feed
from api_stub.store import brief
from crypto_updates.bus import history
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.errors import JetStreamMissingError
from crypto_updates.bus.stream import DURABLE, STREAM
from crypto_updates.clock import slots
from crypto_updates.service import errors, lifecycle
from stack import console
from stack.check import checks, report
from stack.check.report import Audit, Flow
from stack.check.target import CheckSettings, FailedError, Stack

NOTHING = 3
# Seconds for a query, which has a week of slots at most to bring, and for all that is asked of NATS.
QUERY, NATS = 60.0, 8.0
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
FORMS = "90s, 90m, 24h, 7d, or an ISO 8601 time in the past, 2023-11-21T14:30:00Z for one"
VARIABLES = "It reads what the services read: NATS_URL, MONGO_URL, MONGO_DB, SCHEDULE, SCHEDULE_TZ, FEED."


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m stack audit",
        description=__doc__,
        epilog=VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--since", metavar="SPAN", default="24h", help=f"{FORMS} (default: 24h)")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args(argv)
    now = datetime.now(UTC)
    try:
        asked = since(options.since, now)
    except ValueError as error:
        parser.error(str(error))
    return lifecycle.main(
        CheckSettings, lambda settings: audit(settings, asked, now, as_json=options.json), lasting=False
    )


def since(span: str, now: datetime) -> datetime:
    """The instant that a span begins at. Raises ValueError with the value and what is accepted.

    A time without an offset is in UTC, as all that is printed.
    """
    try:
        if match := re.fullmatch(r"(\d{1,9})([smhd])", span, re.ASCII):
            start = now - timedelta(**{UNITS[match[2]]: int(match[1])})
        else:
            start = datetime.fromisoformat(span)
            start = start.astimezone(UTC) if start.tzinfo else start.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        start = now
    if start >= now:
        raise ValueError(f"--since {span!r}: accepted: {FORMS}")
    return start.replace(microsecond=0)


async def audit(settings: CheckSettings, asked: datetime, now: datetime, *, as_json: bool) -> int:
    """Print the audit and return the exit status."""
    if settings.log_level != "debug":
        logging.getLogger("crypto_updates").setLevel(
            logging.CRITICAL
        )  # what it tells would stand in the middle of the output
    try:
        async with AsyncExitStack() as closing:
            done = await _made(Stack(settings, closing), asked, now)
    except FailedError as failed:
        print(f"{failed}\n{failed.advice}", file=sys.stderr)
        return NOTHING
    except PyMongoError as error:
        print(f"MongoDB: {brief(error)}", file=sys.stderr)
        return NOTHING
    console.say(report.document(done) if as_json else "\n".join(report.table(done)))
    return 1 if done.total.gaps else 0


async def _made(stack: Stack, asked: datetime, now: datetime) -> Audit:
    await checks.mongo_answers(stack)
    name, cron = stack.settings.feed, stack.cron
    # What is counted here, no election takes back.
    events = stack.mongo().with_options(read_concern=ReadConcern("majority"))
    with pymongo.timeout(QUERY):
        first = await feed.beginning(events, name, now)
        if first is None:
            raise FailedError(f"no event of feed {name} is stored in {events.full_name}", "see FEED and MONGO_DB")
        newest = await feed.newest(events, name, now)
        letters = await events.database.dead_letters.count_documents({"received_at": {"$gte": asked}})
    start, end = max(first, asked), now - slots.grace(cron, now)
    rows = []
    for begin, until in slots.pieces(cron, start, end):
        with pymongo.timeout(QUERY):
            stored = await feed.stored(events, name, begin, until)
        rows.append(slots.compare(cron, begin, until, stored))
    total = slots.total(cron, rows or [slots.compare(cron, start, end, {})])
    flow, problem = await _flow(stack)
    return Audit(name, stack.settings.schedule, asked, end, rows, total, newest, letters, flow, problem)


async def _flow(stack: Stack) -> tuple[Flow | None, str | None]:
    """What NATS knows, or why it could not be asked."""
    try:
        async with asyncio.timeout(NATS):
            await checks.nats_answers(stack)
            return await _asked(stack.nats(), stack.settings.feed), None
    except FailedError as failed:
        return None, f"{failed}: {failed.advice}"
    except ServiceUnavailableError:
        return None, str(JetStreamMissingError())
    except NotFoundError as error:
        return None, f"{error.description}: {checks.PROVISION}"
    except LINK_ERRORS as error:
        return None, f"not told by the server ({errors.text(error)}): NATS_USER may not have the right"


async def _asked(connection: Connection, name: str) -> Flow:
    connection.js = js = connection.jetstream(checks.JETSTREAM)
    stream, consumer = await js.stream_info(STREAM), await js.consumer_info(STREAM, DURABLE)
    published = await history.newest(connection, name, lambda _: True)
    return Flow(
        stream.state.messages,
        consumer.num_pending or 0,
        consumer.num_ack_pending or 0,
        consumer.num_redelivered or 0,
        max((event.slot for event in published), default=None),
    )
