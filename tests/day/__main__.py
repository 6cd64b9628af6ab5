"""`python -m tests.day`: 24 hours of the whole stack under a clock of 60 times the speed; three days at the same time.

One without a change of the clock, and both with one, which have 23 and 25 hours. Exits 1 if a slot of `*/15` is
missing, has no data or is there twice, and 2 if this machine lacks libfaketime or is too busy.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from crypto_updates.local.errors import StackError
from stack import console
from tests.day.date import DAYS, upcoming
from tests.day.stack import FastStack
from tests.day.verdict import Verdict, judge

LOOK_SECONDS, TELL_SECONDS = 2.0, 60.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.day", description=__doc__)
    parser.add_argument("--day", action="append", choices=DAYS, help="only this one (all)")
    parser.add_argument("--speed", type=float, default=60, help="how many times as fast as the machine's clock (60)")
    given = parser.parse_args()
    if not given.speed >= 1:
        parser.error(f"--speed {given.speed:g}: accepted: 1 or more")
    return given


def run(names: Sequence[str], speed: float, folder: Path) -> Iterator[Verdict]:
    """The verdict on each day, as it ends. Raises StackError, also for what this machine lacks."""
    with ExitStack() as closing:
        today = datetime.now(UTC).date()
        stacks = [closing.enter_context(FastStack(upcoming(name, today), speed, folder / name)) for name in names]
        told = time.monotonic()
        while stacks:
            for stack in [stack for stack in stacks if stack.is_over]:
                stacks.remove(stack)
                yield judge(stack.day, stack.evidence())
            if stacks and time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                console.say(", ".join(f"{stack.day.name}: {stack.stored} slots" for stack in stacks))
            time.sleep(LOOK_SECONDS)


def main() -> int:
    given = arguments()
    folder = Path(tempfile.mkdtemp(prefix="day-"))
    verdicts = []
    try:
        for verdict in run(given.day or list(DAYS), given.speed, folder):
            console.say(str(verdict))
            verdicts.append(verdict)
    except StackError as error:
        console.say(str(error))
        return 2
    if any(verdict.faults for verdict in verdicts):
        console.say(f"logs: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
