"""`python -m stack verify`: the checklist against any running stack. Exits 0 if all of it holds, else 1."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from enum import Enum
from typing import NamedTuple

from pymongo.errors import PyMongoError

from api_stub.store import brief
from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.service import lifecycle
from stack import console
from stack.check import checks
from stack.check.target import CheckSettings, FailedError, SkippedError, Stack

# Seconds for all checks together.
PATIENCE = 30.0
LOGS = "see the logs (docker compose logs)"
VARIABLES = "It reads what the services read (NATS_URL, MONGO_URL, SCHEDULE, ...), and API_URL."


class Check(NamedTuple):
    """`limit`: seconds after which it does not hold."""

    name: str
    limit: float
    run: Callable[[Stack], Awaitable[str]]


CHECKS = (
    Check("NATS connection", 6, checks.nats_answers),
    Check("JetStream", 5, checks.stream_is_right),
    Check("MongoDB connection", 5, checks.mongo_answers),
    Check("Event delivery", 20, checks.event_arrives),
    Check("Schedule kept", 5, checks.schedule_is_kept),
    Check("No slot missing", 10, checks.no_slot_is_missing),
    Check("HTTP API", 12, checks.api_is_ready),
    Check("Reconnection", 30, checks.disconnect_is_survived),
)


class Result(Enum):
    """Its mark, and the mark for a terminal that has no such character."""

    HOLDS = ("\N{CHECK MARK}", "+")
    FAILS = ("\N{BALLOT X}", "x")
    SKIPPED = ("-", "-")


class Outcome(NamedTuple):
    result: Result
    text: str
    advice: str = ""


def run(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m stack verify", description=__doc__, epilog=VARIABLES)
    parser.parse_args(argv)
    return lifecycle.main(CheckSettings, verify)


async def verify(settings: CheckSettings) -> int:
    """Print a line for each check, and return 0 if all hold."""
    if settings.log_level != "debug":
        logging.getLogger("crypto_updates").setLevel(logging.CRITICAL)  # it tells of the disconnect that is on purpose
    try:
        async with AsyncExitStack() as closing:
            return await _all(Stack(settings, closing))
    except asyncio.CancelledError:
        console.say("Stopped")
        return 1


async def _all(stack: Stack) -> int:
    deadline = time.monotonic() + PATIENCE
    held = 0
    for check in CHECKS:
        limit = min(check.limit, max(deadline - time.monotonic(), 0.0))
        outcome = await _outcome(check, stack, limit)
        held += outcome.result is Result.HOLDS
        _show(check.name, outcome)
    for probe in stack.left:
        console.say(f"Left behind: {probe}")
    console.say(f"{held} of {len(CHECKS)} checks hold")
    return 0 if held == len(CHECKS) else 1


async def _outcome(check: Check, stack: Stack, limit: float) -> Outcome:
    try:
        async with asyncio.timeout(limit) as timeout:
            return Outcome(Result.HOLDS, await check.run(stack))
    except SkippedError as skipped:
        return Outcome(Result.SKIPPED, f"skipped: {skipped}")
    except FailedError as failed:
        return Outcome(Result.FAILS, str(failed), failed.advice)
    except (*LINK_ERRORS, PyMongoError) as error:
        late = f"not done within {limit:.0f} s" if timeout.expired() else ""
        return Outcome(Result.FAILS, late or brief(error), LOGS)


def _show(name: str, outcome: Outcome) -> None:
    mark, plain = outcome.result.value
    encoding = sys.stdout.encoding
    shown = mark.encode(encoding, "ignore").decode(encoding) or plain
    text = outcome.text.encode(encoding, "replace").decode(encoding)
    console.say(f"{shown} {name:18} {text}")
    if outcome.advice:
        console.say(f"  {'':18} {outcome.advice}")
