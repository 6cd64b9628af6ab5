"""`crypto-updates check-server [OPTIONS] -- COMMAND ...`: the verdict on an API server that is triggered over NATS.

Starts a nats-server, a MongoDB, a market and the server, which nobody changes, and goes through a list: events, copies,
invalid bodies, outages, stops. The server gets their addresses in the variables that such servers read (NATS_URL,
MONGO_URI, PORT, ...). It reacts to an event when it writes to MongoDB, or, with --probe, when a URL of it changes.

    crypto-updates check-server -- node server.js
    crypto-updates check-server --subject crypto.update --body '{"trigger":"update"}' -- node server.js

Exits 0 if all items hold, 1 if some do not, 2 if they cannot be tried: an option is wrong, the server or one of ours
cannot be started.
"""

import shutil
import sys
import tempfile
import threading
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.verdict import report
from crypto_updates.harness.verdict.candidate import Candidate
from crypto_updates.harness.verdict.catalogue import ITEMS
from crypto_updates.harness.verdict.item import Item, Outcome, Result
from crypto_updates.harness.verdict.judge import Judge
from stack import console

HOLD, DIFFER, BAD_USE = 0, 1, 2


def run(parser: ArgumentParser, argv: list[str]) -> int:
    options = _arguments(parser, argv)
    items = _chosen(parser, options)
    if options.list:
        for item in items:
            console.say(f"{item.name:26} {item.does}")
        return HOLD
    if not options.command:
        parser.error("the server's command is missing: crypto-updates check-server -- node server.js")
    return console.until_stopped(lambda _: _judge(options, items), stopped=console.INTERRUPTED, failed=BAD_USE)


def _arguments(parser: ArgumentParser, argv: list[str]) -> Namespace:
    parser.add_argument("--subject", metavar="S", type=console.subject, default=SUBJECT, help=f"default: {SUBJECT}")
    parser.add_argument(
        "--body",
        metavar="B",
        help="of each event, byte for byte, but for a `timestamp` (default: the event's own)",
    )
    parser.add_argument("--cwd", metavar="DIR", type=_folder, help="the folder that the server is started in")
    parser.add_argument(
        "--env", metavar="K=V", type=_variable, action="append", default=[],
        help="a variable of the server; {NATS_URL}, {MONGO_URL}, {PORT} and the like are filled in",
    )  # fmt: skip
    parser.add_argument("--probe", metavar="URL", type=_url, help="watch this http:// URL in place of MongoDB")
    parser.add_argument("--quick", action="store_true", help="without the long items, in less than a minute")
    parser.add_argument(
        "--only", metavar="TEXT", action="append", default=[], help="the items with this text in their name"
    )
    parser.add_argument("--list", action="store_true", help="show the items, and end")
    parser.add_argument("--junit", metavar="FILE", type=console.result, help="write the verdict as JUnit's XML, too")
    parser.add_argument("--json", action="store_true", help="the verdict as JSON on standard output")
    parser.add_argument("command", metavar="COMMAND", nargs="*", help="the server's command line, behind --")
    return parser.parse_args(argv)


def _folder(text: str) -> Path:
    if Path(text).is_dir():
        return Path(text).absolute()
    raise ArgumentTypeError(f"{text!r}: accepted: a folder")


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme == "http" and parts.hostname and parts.port != 0:
            return text
    except ValueError:  # for example of a port that is no number
        pass
    raise ArgumentTypeError(f"{text!r}: accepted: http://host:port/path")


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if name and separator:
        return name, value
    raise ArgumentTypeError(f"{text!r}: accepted: NAME=VALUE")


def _chosen(parser: ArgumentParser, options: Namespace) -> list[Item]:
    items = [item for item in ITEMS if item.quick or not options.quick]
    for text in options.only:
        if not text or not any(_named(item, text) for item in items):
            shown = "--quick --list" if options.quick else "--list"
            parser.error(f"argument --only: {text!r}: accepted: text of an item's name; {shown} shows them")
    return [item for item in items if not options.only or any(_named(item, text) for text in options.only)]


def _named(item: Item, text: str) -> bool:
    return text.lower() in item.name.lower()


def _judge(options: Namespace, items: Sequence[Item]) -> int:
    given = (options.command, options.subject, options.cwd, dict(options.env), options.body, options.probe)
    begin = time.monotonic()
    with ExitStack() as unless_failed:
        logs = Path(tempfile.mkdtemp(prefix="check-server-"))
        unless_failed.callback(shutil.rmtree, logs, ignore_errors=True)
        results = Judge(Candidate(*given), logs, Progress(len(items)).tell).judge(items)
        if any(result.logs for result in results):
            unless_failed.pop_all()
    untried = len(ITEMS) - len(items) if options.quick and not options.only else 0
    _show(options, results, time.monotonic() - begin, untried)
    return DIFFER if any(result.outcome == Outcome.FAILS for result in results) else HOLD


def _show(options: Namespace, results: Sequence[Result], seconds: float, untried: int) -> None:
    if options.json:
        console.say(report.document(results))
    else:
        unicode = console.can_show("".join(report.MARKS.values()))
        for line in report.table(results, seconds, untried=untried, unicode=unicode, width=console.width()):
            console.say(line)
    if options.junit:
        options.junit.write_bytes(report.junit(results))


class Progress:
    """On standard error: each result as soon as it is there, on a terminal in one line that is written over."""

    def __init__(self, items: int) -> None:
        self._items = items
        self._done = 0
        self._lock = threading.Lock()
        self._begin = time.monotonic()

    def tell(self, result: Result) -> None:
        with self._lock:
            self._done += 1
            self._items = max(self._items, self._done)  # an item that was not asked for is told when it fails
            spent = time.monotonic() - self._begin
            text = f"{self._done}/{self._items} after {spent:.0f} s: {result.name} {result.outcome}"
            if sys.stderr.isatty():
                text = f"\r\x1b[K{text}" + "\n" * (self._done == self._items)
            print(text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)
