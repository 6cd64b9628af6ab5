"""`crypto-updates export`: the stored events as NDJSON or CSV, the oldest first, to stdout or to a file.

    crypto-updates export --since 7d >week.ndjson
    crypto-updates export --until 365d --feed crypto --format csv --output old.csv

Exits with 0 when all is written, 1 if it could not be written, 2 for bad use, and 3 if MongoDB does not answer.
It reads MONGO_URL and MONGO_DB, as the services do.
"""

import argparse
import asyncio
import functools
import logging
import re
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from api_stub import query
from api_stub.config import StoreSettings
from api_stub.errors import StoreRefusedError, StoreUnavailableError
from api_stub.mongo import Document
from api_stub.reader import Reader
from crypto_updates.clock import span
from crypto_updates.clock.timetable import FEED_FORM, FEED_PATTERN
from crypto_updates.service import errors, lifecycle
from stack.export import target
from stack.export.forms import FORMS

UNAVAILABLE = 3  # the exit status
QUERY_SECONDS = 60.0
# A replica set takes some ten seconds for an election.
OUTAGE_SECONDS, RETRY_SECONDS = 60.0, 1.0


def run(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    past = functools.partial(_past, now=datetime.now(UTC))
    parser.add_argument("--since", metavar="SPAN", type=past, help=f"slots from this time on: {span.PAST_FORMS}")
    parser.add_argument("--until", metavar="SPAN", type=past, help="slots before this time, in the same forms")
    parser.add_argument("--feed", metavar="NAME", type=_feed, help="only this feed's events (default: all events)")
    parser.add_argument("--format", choices=FORMS, default="ndjson", help="(default: ndjson)")
    parser.add_argument("--output", metavar="FILE", type=_output, help="written whole or not at all (default: stdout)")
    options = parser.parse_args(argv)
    if options.since and options.until and options.since >= options.until:
        parser.error("--since is not before --until, so there is nothing between them")
    return lifecycle.main(StoreSettings, functools.partial(export, options), lasting=False)


def _past(text: str, now: datetime) -> datetime:
    try:
        return span.past(text, now)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}; accepted: {span.PAST_FORMS}") from error


def _feed(name: str) -> str:
    if re.fullmatch(FEED_PATTERN, name):
        return name
    raise argparse.ArgumentTypeError(f"{name!r}: accepted: {FEED_FORM}")


def _output(name: str) -> Path:
    if Path(name).name and not Path(name).is_dir():
        return Path(name)
    raise argparse.ArgumentTypeError(f"{name!r}: accepted: the path of a file")


async def export(options: argparse.Namespace, settings: StoreSettings) -> int:
    """Write the events, and return the exit status."""
    logging.disable()  # it would write between the events
    where = [query.span(options.since, options.until), query.of_feed(options.feed) if options.feed else {}]
    form, count = FORMS[options.format](), 0
    try:
        with target.opened(options.output) as file:
            file.write(form.head())
            async with Reader(settings.mongo_url, settings.mongo_db, QUERY_SECONDS, settled=True) as reader:
                async for event in _events(reader, where):
                    file.write(form.line(event))
                    count += 1
    except StoreUnavailableError as error:
        print(f"{error}: verify that MongoDB is running (docker ps), and MONGO_URL", file=sys.stderr)
        return UNAVAILABLE
    except BrokenPipeError:
        return 1  # the reader of a pipe wants no more, and no message
    except OSError as error:
        print(f"{options.output or 'stdout'}: {error.strerror or errors.text(error)}", file=sys.stderr)
        return 1
    print(f"{count} event{'' if count == 1 else 's'} exported", file=sys.stderr)
    return 0


async def _events(reader: Reader, where: list[Document]) -> AsyncIterator[Document]:
    """Each event once, also if MongoDB is away for a while: the next query begins behind the last event.

    Raises StoreUnavailableError.
    """
    rest, lost = where, None
    while True:
        try:
            async for event in reader.export(rest):
                yield event
                rest, lost = [*where, query.behind(event)], None
        except StoreRefusedError:
            raise
        except StoreUnavailableError:
            lost = lost or time.monotonic()
            if time.monotonic() - lost > OUTAGE_SECONDS:
                raise
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return
