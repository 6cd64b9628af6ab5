"""`crypto-updates audit`: the slots expected and stored over a span. With --repair, it first publishes those missing.

Exits 0 if none is missing, 1 if some are, 2 for bad use, and 3 if there is nothing to audit: MongoDB does not answer,
or has no event of the feed.
It reads what the services read: NATS_URL, MONGO_URL, MONGO_DB, SCHEDULE, SCHEDULE_TZ, FEED. For --repair also what the
worker reads of the market: MARKET_SOURCE, MARKET_FALLBACK, COINS, ...
"""

import asyncio
import json
import sys
from argparse import ArgumentParser
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial

from api_stub.errors import StoreUnavailableError
from api_stub.reader import Reader
from crypto_updates.bus import figures, history
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.figures import NATS_LOG, Figures, FiguresError
from crypto_updates.clock import slots, span
from crypto_updates.service import errors, lifecycle
from stack import console
from stack.check import checks, repair, report
from stack.check.repair import RepairSettings
from stack.check.report import Audit
from stack.check.target import CheckSettings, FailedError, Stack
from worker import catchup

NOTHING_TO_AUDIT = 3  # the exit status
# A query reads a week of slots at most.
QUERY_SECONDS = 60.0
NATS_SECONDS = 8.0


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("--since", metavar="SPAN", default="24h", help=f"{span.PAST_FORMS} (default: 24h)")
    parser.add_argument("--json", action="store_true", help="for machines")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="publish the missing slots, with the data of their own time; safe to repeat",
    )
    options = parser.parse_args(argv)
    now = datetime.now(UTC)
    try:
        asked = since(options.since, now)
    except ValueError as error:
        parser.error(str(error))
    wanted = RepairSettings if options.repair else CheckSettings
    return lifecycle.main(wanted, lambda settings: audit(settings, asked, now, as_json=options.json), lasting=False)


def since(text: str, now: datetime) -> datetime:
    """The start of a span. Raises ValueError with the value and what is accepted."""
    try:
        return span.past(text, now)
    except ValueError as error:
        raise ValueError(f"--since {text!r}: {error}; accepted: {span.PAST_FORMS}") from error


async def audit(settings: CheckSettings, asked: datetime, now: datetime, *, as_json: bool) -> int:
    """Print the audit, after the repair if the settings are for one, and return the exit status."""
    settings.quiet()
    repaired = None
    try:
        async with AsyncExitStack() as closing:
            stack = Stack(settings, closing)
            done = await _collect(stack, asked, now)
            if isinstance(settings, RepairSettings):
                say = (lambda _: None) if as_json else console.say
                repaired = await repair.run(settings, done.total.gaps, stack.mongo(), say)
                repaired.waiting = await repair.absent(repaired.published, settings, stack.mongo().reader)
                say("\n".join(report.repaired(repaired)))
                done = (await _collect(stack, asked, now))._replace(repair=repaired)
    except (FailedError, StoreUnavailableError) as error:
        print(error, *([error.advice] if isinstance(error, FailedError) else []), sep="\n", file=sys.stderr)
        if repaired and as_json:  # what was done cannot be told a second time
            console.say(json.dumps({"repair": report.outcome(repaired), "problem": str(error)}, indent=2))
        return NOTHING_TO_AUDIT
    console.say(report.document(done) if as_json else "\n".join(report.table(done)))
    return 1 if done.total.gaps else 0


async def _collect(stack: Stack, asked: datetime, now: datetime) -> Audit:
    await checks.mongo_answers(stack)
    settings, cron = stack.settings, stack.settings.cron
    reader = await stack.closing.enter_async_context(
        Reader(settings.mongo_url, settings.mongo_db, QUERY_SECONDS, settled=True)
    )
    first, age, is_aged = await reader.beginning(settings, now)
    if first is None:
        problem = f"no event of feed {settings.feed} is stored in database {settings.mongo_db}"
        raise FailedError(problem, "see FEED and MONGO_DB")
    newest = await reader.newest(settings, now)
    letters = await reader.count_dead_letters(asked)
    start, end = max(first, asked), now - slots.grace(cron, now)
    rows = []
    for begin, until in slots.pieces(cron, start, end):
        stored = await reader.stored(settings, begin, until)
        rows.append(slots.compare(cron, begin, until, stored))
    total = slots.total(cron, rows or [slots.compare(cron, start, end, {})])
    told = await _ask_nats(stack, now)
    return Audit(settings.feed, settings.schedule, asked, end, rows, total, newest, letters, *told, age, is_aged)


async def _ask_nats(stack: Stack, now: datetime) -> tuple[Figures | None, datetime | None, str | None]:
    """The figures and the newest slot in the stream, or why NATS did not tell them."""
    prompt = partial(catchup.is_prompt, cron=stack.settings.cron, now=now)
    try:
        async with asyncio.timeout(NATS_SECONDS):
            await checks.nats_answers(stack)
            connection = stack.nats()
            connection.js = connection.jetstream()
            found = await figures.read(connection)
            published = await history.newest(connection, stack.settings.feed, prompt)
    except FailedError as failed:
        return None, None, f"{failed}: {failed.advice}"
    except FiguresError as error:
        return None, None, str(error)
    except LINK_ERRORS as error:
        return None, None, f"the newest slot is not known ({errors.text(error)}): {NATS_LOG}"
    return found, max((event.slot for event in published if event.slot <= now), default=None), None
