"""`crypto-updates publish`: one event by hand, to try a consumer.

    crypto-updates publish
    crypto-updates publish --slot 2026-01-01T00:00:00Z --copies 2
    printf '{"trigger":"update"}' | crypto-updates publish --subject crypto.update --body -

It goes to the running harness (HARNESS_URL), or else to NATS_URL, with the variables that the services read. With
neither of them set, to a harness on the usual port if there is one, or else to nats://localhost:4222.
"""

import base64
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from crypto_updates.bus import instant
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS, Connection, Receipt
from crypto_updates.bus.errors import BusError, reason
from crypto_updates.bus.event import SUBJECT
from crypto_updates.clock.timetable import Timetable
from crypto_updates.harness.draft import Drafts
from crypto_updates.local.errors import StackError
from crypto_updates.service import environment, lifecycle
from stack import console, control


class PublishSettings(BusSettings, Timetable):
    pass


class Message(NamedTuple):
    slot: datetime | None
    body: bytes | None
    copies: int
    subject: str


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("--slot", metavar="TIME", type=_slot, help="the event's time (default: now)")
    parser.add_argument("--copies", metavar="N", type=_count, default=1, help="how many times (default: 1)")
    parser.add_argument(
        "--body", metavar="FILE", type=console.content, help="send this instead of an event; - is the standard input"
    )
    parser.add_argument("--subject", metavar="S", type=console.subject, default=SUBJECT, help=f"(default: {SUBJECT})")
    message = Message(**vars(parser.parse_args(argv)))
    try:
        receipt = _by_harness(message)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    if receipt:
        return _say(message, receipt)
    return lifecycle.main(PublishSettings, partial(_by_nats, message), lasting=False)


def _by_harness(message: Message) -> Receipt | None:
    """None if there is no harness. Raises StackError."""
    given = environment.read().values
    if not os.environ.get(control.VARIABLE) and (given.get("NATS_URL") or given.get("NATS_URL_FILE")):
        return None
    asked: dict[str, Any] = {"copies": message.copies, "subject": message.subject}
    if message.slot:
        asked["slot"] = message.slot.isoformat()
    if message.body is not None:
        asked["base64"] = base64.b64encode(message.body).decode()
    try:
        return Receipt(**control.ask("POST", "/events", asked))
    except control.NoHarnessError:
        return None
    except control.NoControlError:
        if os.environ.get(control.VARIABLE):
            raise
        return None


async def _by_nats(message: Message, settings: PublishSettings) -> int:
    """Publish at the first server that can be reached."""
    headers, body = Drafts(settings.feed).make(message.slot, message.body)
    for url in settings.nats_url:
        connection = Connection(url)
        try:
            await connection.open(settings, "publish")
            if message.subject == SUBJECT and settings.delivery != "core" and connection.nc.has_jetstream:
                await connection.prepare(settings.stream_replicas)
            receipts = [await connection.publish(body, headers, message.subject) for _ in range(message.copies)]
            return _say(message, receipts[0])
        except (*LINK_ERRORS, BusError) as error:
            print(reason(error, connection.url), file=sys.stderr)
        finally:
            await connection.close()
    return 1


def _say(message: Message, receipt: Receipt) -> int:
    stored = "" if receipt.seq is None else f": message {receipt.seq} of the stream"
    known = ", which had it already, so that only plain subscribers hear it" if receipt.duplicate else ""
    console.say(f"Published on {message.subject}{stored}{known}")
    return 0


def _slot(text: str) -> datetime:
    try:
        return instant.parse(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if text.isdecimal() and int(text):
        return int(text)
    raise ArgumentTypeError(f"{text!r}: accepted: a whole number from 1")
