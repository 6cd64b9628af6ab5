"""`crypto-updates validate FILE ...`: says whether the API stub would store the body in each file as an event.

It says the timestamp and the id that the event would have, or the reason that the dead letter would have. An id comes
from headers: `--header 'Nats-Msg-Id: crypto@1'`. Exits 0 if all bodies are events, 1 if not, and 2 for bad use.
"""

import argparse
import io
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

from api_stub import document
from api_stub.errors import BadDocumentError
from api_stub.mongo import Document
from api_stub.subscriber import MAX_REASON_CHARS, printable, stored
from crypto_updates.bus import header, message, trace
from crypto_updates.bus.errors import InvalidEventError
from stack import console

# What names an event without an id of its own; it differs for each message.
PLACE = "its place in the stream"


def run(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("files", nargs="+", metavar="FILE", help="the body of a message; - for stdin")
    text = "a header of the messages; may be repeated"
    parser.add_argument("--header", action="append", type=_line, default=[], metavar="'NAME: VALUE'", help=text)
    options = parser.parse_args(argv)
    if options.files.count("-") > 1:
        parser.error("- is given twice; accepted: once, because stdin has one body")
    try:
        bodies = [(name, console.content(name)) for name in options.files]
    except argparse.ArgumentTypeError as error:
        parser.error(str(error))
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the output may lack the characters that a publisher wrote
    headers = header.parse(b"\r\n".join([b"NATS/1.0", *options.header]))
    return max([_tell(name, headers, body) for name, body in bodies])


def _line(text: str) -> bytes:
    name, colon, _ = text.partition(":")
    if name and colon and text.isprintable():
        return text.encode()
    raise argparse.ArgumentTypeError(f"{text!r}: accepted: NAME: VALUE")


def _tell(name: str, headers: Mapping[str, str], body: bytes) -> int:
    """Say what the body is, and return the exit status."""
    try:
        found = event(headers, body)
    except (InvalidEventError, BadDocumentError) as error:
        console.say(printable(f"{name}: not an event: {str(error)[:MAX_REASON_CHARS]}"))
        return 1
    timestamp = found["timestamp"].isoformat().replace("+00:00", "Z")
    console.say(printable(f"{name}: an event: timestamp {timestamp}, id {found['_id']}"))
    return 0


def event(headers: Mapping[str, str], body: bytes) -> Document:
    """Return what the API stub would store. Raises InvalidEventError or BadDocumentError if it would store nothing."""
    given, content = message.read(headers, body)
    name = message.bounded(given) if given else PLACE
    found = stored(name, content, None, datetime.now(UTC), trace.given(headers))
    document.encode(found)
    return found
