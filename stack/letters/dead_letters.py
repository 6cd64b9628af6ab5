"""`crypto-updates dead-letters`: lists, shows, replays and discards the messages that could not become events.

Exits 0 if all was done, 1 if a letter does not exist or was kept, 2 for bad use, and 3 if MongoDB does not answer.
It reads MONGO_URL and MONGO_DB, as the services do.
"""

import argparse
import functools
import io
import json
import sys
from collections.abc import Sequence

from api_stub.config import StoreSettings
from api_stub.errors import BadDocumentError, StoreUnavailableError
from api_stub.store import Store
from api_stub.subscriber import brief
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.service import lifecycle
from stack import console
from stack.letters import letter
from stack.letters.replay import identity, replay

UNAVAILABLE = 3  # the exit status
MAX_LISTED = 1_000_000


def run(parser: argparse.ArgumentParser, argv: list[str]) -> int:
    options = _arguments(parser, argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # the output may lack the characters that a publisher wrote
    return lifecycle.main(StoreSettings, functools.partial(_carry_out, options), lasting=False)


def _arguments(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("list", help="the newest first")
    command.add_argument("--limit", type=_count, default=20, metavar="N", help="at most N (default: 20)")
    command.add_argument("--json", action="store_true", help="for machines, with the headers")
    command.set_defaults(command=_list)
    command = commands.add_parser("show", help="one of them, with its body")
    command.add_argument("id", metavar="ID")
    command.add_argument("--raw", action="store_true", help="only the body's bytes, to correct them in a file")
    command.set_defaults(command=_show)
    several = argparse.ArgumentParser(add_help=False)
    several.add_argument("ids", nargs="*", metavar="ID")
    several.add_argument("--all", action="store_true", help="all of them")
    text = "store them as events, under the ids of the messages"
    command = commands.add_parser("replay", parents=[several], help=text)
    command.add_argument(
        "--body", type=console.content, metavar="FILE", help="with one ID: a corrected body, - for stdin"
    )
    text = "under the letter's own id, when that of the message is taken or too long"
    command.add_argument("--own-id", action="store_true", help=text)
    command.set_defaults(command=_replay)
    command = commands.add_parser("discard", parents=[several], help="remove them for good")
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.set_defaults(command=_discard, body=None)
    options = parser.parse_args(argv)
    if "all" in options:
        _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    if bool(options.ids) == options.all:
        parser.error("accepted: either one ID or more, or --all")
    if options.body is not None and len(options.ids) != 1:
        parser.error("--body goes with one ID")


def _count(value: str) -> int:
    if value.isdecimal() and 1 <= int(value) <= MAX_LISTED:
        return int(value)
    raise argparse.ArgumentTypeError(f"{value!r}: accepted: a whole number from 1 to {MAX_LISTED}")


async def _carry_out(options: argparse.Namespace, settings: StoreSettings) -> int:
    try:
        async with Store(settings.mongo_url, settings.mongo_db) as store:
            status: int = await options.command(store, options)
            return status
    except StoreUnavailableError as error:
        print(f"{error}: verify that MongoDB is running (docker ps), and MONGO_URL", file=sys.stderr)
        return UNAVAILABLE


async def _list(store: Store, options: argparse.Namespace) -> int:
    letters = await store.dead_letters(options.limit)
    if options.json:
        console.say(json.dumps([letter.fields(one) for one in letters], indent=2))
        return 0
    for one in letters:
        console.say(letter.summary(one))
    count = await store.count_dead_letters()
    console.say(f"{len(letters)} of {count} (--limit)" if count > len(letters) else _letters(count))
    return 0


async def _show(store: Store, options: argparse.Namespace) -> int:
    found = await store.dead_letter(options.id)
    if found is None:
        return _unknown(options.id)
    if not options.raw:
        console.say("\n".join(letter.whole(found, identity(found))))
    elif sys.stdout.isatty() and letter.as_text(found["raw"]) is None:
        print("The body is not text: write it to a file, not to a terminal", file=sys.stderr)
        return 1
    else:
        sys.stdout.buffer.write(found["raw"])
        if sys.stdout.isatty() and not found["raw"].endswith(b"\n"):
            sys.stdout.buffer.write(b"\n")  # only on a terminal: a pipe or a file gets the body's bytes and no other
        sys.stdout.flush()
    return 0


async def _replay(store: Store, options: argparse.Namespace) -> int:
    ids = list(dict.fromkeys(options.ids)) or await store.dead_letter_ids()
    kept = [one for one in ids if not await _replay_one(store, one, options)]
    console.say(f"{_letters(len(ids) - len(kept))} replayed" + (f", {len(kept)} not" if kept else ""))
    return 1 if kept else 0


async def _replay_one(store: Store, letter_id: str, options: argparse.Namespace) -> bool:
    found = await store.dead_letter(letter_id)
    if found is None:
        # With --all, somebody else may have replayed it meanwhile.
        return options.all or not _unknown(letter_id)
    try:
        new = await replay(store, found, options.body, own_id=options.own_id)
    except (InvalidEventError, BadDocumentError) as error:
        print(f"Kept {brief(letter_id)}: {brief(str(error))}", file=sys.stderr)
        return False
    what = "Stored" if new else "Stored already"
    name = letter_id if options.own_id else identity(found, options.body)
    console.say(f"{what}: {brief(name)} (was {brief(letter_id)})")
    return True


async def _discard(store: Store, options: argparse.Namespace) -> int:
    ids = list(dict.fromkeys(options.ids)) or await store.dead_letter_ids()
    if ids and not options.yes and not _confirm(ids):
        return 1
    absent = [one for one in ids if not await store.remove_dead_letter(one)]
    console.say(f"{_letters(len(ids) - len(absent))} discarded")
    return max((_unknown(one) for one in absent if not options.all), default=0)


def _confirm(ids: Sequence[str]) -> bool:
    if not sys.stdin.isatty():
        print("Nothing is discarded: there is no terminal to ask; accepted: --yes", file=sys.stderr)
        return False
    try:
        return input(f"Discard {_letters(len(ids))} for good? [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False


def _unknown(letter_id: str) -> int:
    print(f"No dead letter has the id {brief(letter_id)}", file=sys.stderr)
    return 1


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"
