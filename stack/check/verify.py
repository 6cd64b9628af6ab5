"""`crypto-updates verify`: checks a running stack. Exits 0 if all checks hold, else 1.

It reads what the services read (NATS_URL, MONGO_URL, SCHEDULE, ...), and API_URL.
"""

import asyncio
import sys
import time
from argparse import ArgumentParser
from contextlib import AsyncExitStack

from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.service import errors, lifecycle
from crypto_updates.service.errors import CryptoUpdatesError
from stack import console
from stack.check.checks import CHECKS, Check
from stack.check.target import CheckSettings, FailedError, SkippedError, Stack

ALL_CHECKS_SECONDS = 30.0
# The mark of each result, and the mark for a terminal without that character.
HOLDS, FAILS, SKIPPED = ("\N{CHECK MARK}", "+"), ("\N{BALLOT X}", "x"), ("-", "-")


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.parse_args(argv)
    return lifecycle.main(CheckSettings, verify)


async def verify(settings: CheckSettings) -> int:
    """Print a line for each check, and return 0 if all hold."""
    settings.quiet()
    try:
        async with AsyncExitStack() as closing:
            return await _run_all(Stack(settings, closing))
    except asyncio.CancelledError:
        console.say("Stopped")
        return 1


async def _run_all(stack: Stack) -> int:
    deadline = time.monotonic() + ALL_CHECKS_SECONDS
    held = 0
    try:
        for check in CHECKS:
            seconds = min(check.seconds, max(deadline - time.monotonic(), 0.0))
            held += await _run_one(check, stack, seconds)
    finally:
        for probe in stack.left:
            console.say(f"Left behind: {probe}")
    console.say(f"{held} of {len(CHECKS)} checks hold")
    return 0 if held == len(CHECKS) else 1


async def _run_one(check: Check, stack: Stack, seconds: float) -> bool:
    """Run the check, and show what it found."""
    try:
        with lifecycle.remembering_stop():
            async with asyncio.timeout(seconds) as timeout:
                found = await check.run(stack)
    except SkippedError as skipped:
        _show(SKIPPED, check.name, f"skipped: {skipped}")
    except FailedError as failed:
        _show(FAILS, check.name, str(failed), failed.advice)
    except (*LINK_ERRORS, CryptoUpdatesError) as error:
        late = f"not done within {seconds:.0f} s" if timeout.expired() else ""
        _show(FAILS, check.name, late or errors.text(error), "see the logs (docker compose logs)")
    else:
        _show(HOLDS, check.name, found)
        return True
    return False


def _show(marks: tuple[str, str], name: str, text: str, advice: str = "") -> None:
    mark, plain = marks
    encoding = sys.stdout.encoding
    shown = mark.encode(encoding, "ignore").decode(encoding) or plain
    console.say(f"{shown} {name:18} {text.encode(encoding, 'replace').decode(encoding)}")
    if advice:
        console.say(f"  {'':18} {advice}")
