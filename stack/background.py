"""A command in the background: a process that outlives the one that started it, and is found again by its log.

It holds a lock on its log for as long as it lives. So a log that nobody holds is old, and the process id in a log that
is held belongs to the command, and not to another process that got the id later.
"""

import fcntl
import itertools
import os
import re
import shlex
import signal
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from crypto_updates.local import guard
from crypto_updates.local.errors import StackError
from stack import console

_STOP_SECONDS = 60.0
_CHECK_SECONDS = 0.1
_SHOWN_LINES = 40

# Has the process that waits say this, and end.
Announce = Callable[[str], None]


class Background:
    """The background processes of this user that run the command, such as `demo`."""

    def __init__(self, command: str, none: str = "") -> None:
        """`none`: what to say when there is none to stop."""
        self._command = command
        self._none = none or f"No {command} runs in the background"
        self.log = f"{command}.log"

    def asked(self, options: Namespace, data: Path | None, run: Callable[[Path, Announce], int]) -> int | None:
        """The exit status of --detach or --stop, None if neither was given. See `start`."""
        try:
            if options.stop:
                return self.stop(data)
            if options.detach:
                return self.start(data, run)
        except (StackError, OSError) as error:
            print(error, file=sys.stderr)
            return 1
        return None

    def start(self, data: Path | None, run: Callable[[Path, Announce], int]) -> int:
        """Run in a new process. Return 0 when it announces that it is ready, and its exit status if it ends before.

        `data` is its folder; without one it gets a temporary folder, which it removes. This method returns in the new
        process too, with what `run` returns. Raises StackError if one is running there already.
        """
        for log in self._running(data):
            told = f"{_process(log)}, log {log.name}. {self.how_to_stop(data)}"
            raise StackError(f"A {self._command} is running already: process {told}")
        folder = data or Path(tempfile.mkdtemp(prefix=guard.PREFIX))
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / self.log).open("a+b") as log:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            log.truncate(0)
            reading, writing = os.pipe()
            if pid := os.fork():
                os.close(writing)
                return _await(pid, reading, log)
            _leave(log, writing)
        console.say(f"Process {os.getpid()}")
        return run(folder, lambda text: _announce(writing, text))

    def stop(self, data: Path | None) -> int:
        """Stop it, wait until it has ended, and return the exit status. Raises StackError."""
        stopped = [_end(log) for log in self._running(data)]
        none = f"No {self._command} with --data {data} runs in the background" if data else self._none
        console.say("\n".join(f"Stopped process {pid}" for pid in stopped) or none)
        return 0

    def how_to_stop(self, data: Path | None) -> str:
        where = f" --data {shlex.quote(str(data))}" if data else ""
        return f"To stop it: crypto-updates {self._command} --stop{where}"

    def _running(self, data: Path | None) -> Iterator[BinaryIO]:
        """The logs of those that run, in this folder or else in temporary ones."""
        for folder in [data] if data else Path(tempfile.gettempdir()).glob(f"{guard.PREFIX}*"):
            with (
                suppress(FileNotFoundError, NotADirectoryError, PermissionError),
                (folder / self.log).open("rb") as log,
            ):
                if _is_held(log) and os.fstat(log.fileno()).st_uid == os.geteuid():
                    yield log


def _leave(log: BinaryIO, writing: int) -> None:
    """Keep nothing of the terminal or of a CI step, which waits until nobody holds its pipes."""
    os.setsid()
    with Path(os.devnull).open("rb") as null:
        os.dup2(null.fileno(), 0)
    for output in (1, 2):
        os.dup2(log.fileno(), output)
    kept = [2, *sorted((log.fileno(), writing)), os.sysconf("SC_OPEN_MAX")]
    for below, above in itertools.pairwise(kept):
        os.closerange(below + 1, above)


def _announce(writing: int, text: str) -> None:
    """Raises BrokenPipeError if nobody waits any more."""
    console.say(text)
    os.write(writing, text.encode())
    os.close(writing)


def _await(pid: int, reading: int, log: BinaryIO) -> int:
    try:
        with open(reading, encoding="utf-8") as announced:
            if text := announced.read():
                console.say(text)
                return 0
    except KeyboardInterrupt:
        os.kill(pid, signal.SIGTERM)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    log.seek(0)
    lines = log.read().decode(errors="replace").splitlines()
    print(*lines[1:][-_SHOWN_LINES:], sep="\n", file=sys.stderr)
    return status if status > 0 else 1


def _is_held(log: BinaryIO) -> bool:
    try:
        fcntl.flock(log, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(log, fcntl.LOCK_UN)
    return False


def _process(log: BinaryIO) -> int:
    log.seek(0)
    if match := re.match(rb"Process (\d+)\n", log.readline()):
        return int(match[1])
    raise StackError(f"{log.name}: it is just starting here; try again")


def _end(log: BinaryIO) -> int:
    pid = _process(log)
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    while _is_held(log):
        if time.monotonic() > deadline:
            raise StackError(f"process {pid} did not end within {_STOP_SECONDS:.0f} s: see {log.name}")
        time.sleep(_CHECK_SECONDS)
    return pid
