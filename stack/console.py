"""The terminal: what a person sees of the stack, and how they stop it."""

import os
import shutil
import signal
import sys
import threading
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NoReturn

from crypto_updates.bus import config
from crypto_updates.local.errors import StackError

# The exit status of a command that Ctrl-C has ended, as a shell says it.
INTERRUPTED = 130
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PARENT_CHECK_SECONDS = 0.5
_STOP_AGAIN_SECONDS = 0.01
_MAX_PORT = 65_535
_WIDTH = 120
_COLOURS = {"worker": 36, "api_stub": 35, "provision": 33, "fault": 31}


class _Stopped(BaseException):
    """Not KeyboardInterrupt: CPython may still exit by the signal after that was caught."""


def until_stopped(run: Callable[[ExitStack], int], *, alone: bool = False, stopped: int = 0, failed: int = 1) -> int:
    """Run, and return the exit status: `stopped` after Ctrl-C, SIGTERM, SIGHUP, or the parent's end if not `alone`,
    and `failed` after an error, which is told.
    """
    for sig in (*_STOPPING, signal.SIGALRM):
        signal.signal(sig, _stop)
    sys.unraisablehook = _stop_again
    if not alone:
        threading.Thread(target=_watch_parent, args=(os.getppid(),), daemon=True).start()
    try:
        with ExitStack() as closing:
            try:
                return run(closing)
            except _Stopped:
                # Standard output is for the result of a command that has a status for its stop.
                print("\nStopping ...", file=sys.stderr if stopped else sys.stdout, flush=True)
                return stopped
    except (StackError, OSError) as error:
        print(error, file=sys.stderr)
        return failed


def port(text: str) -> int:
    """The port of an argument. Raises ArgumentTypeError."""
    if text.isdecimal() and 1 <= int(text) <= _MAX_PORT:
        return int(text)
    raise ArgumentTypeError(f"{text!r}: accepted: a port from 1 to {_MAX_PORT}")


def subject(text: str) -> str:
    """The subject of an argument. Raises ArgumentTypeError."""
    try:
        return config.subject(text)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from error


def content(path: str) -> bytes:
    """The bytes of an argument's file, or of stdin for -. Raises ArgumentTypeError."""
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise ArgumentTypeError(f"{path!r}: {error.strerror}; accepted: the path of a file, or -") from error


def result(path: str) -> Path:
    """The file of an argument, for a result. Raises ArgumentTypeError if it cannot be written. It is not made yet."""
    file = Path(path).absolute()
    is_new = not file.exists()
    try:
        file.open("ab").close()
        if is_new:
            file.unlink()
    except OSError as error:
        raise ArgumentTypeError(f"{path!r}: {error.strerror}; accepted: a file that can be written") from error
    return file


def say(text: str, end: str = "\n") -> None:
    try:
        print(text, end=end, flush=True)
    except OSError:
        # The reader of our output is gone: stop silently, as programs in a pipe do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        os.kill(os.getpid(), signal.SIGTERM)


def width() -> int:
    """The characters of a line: the terminal's, and enough for most people where there is none."""
    return shutil.get_terminal_size((_WIDTH, 24)).columns


def can_show(text: str) -> bool:
    """True if standard output has these characters."""
    return text.encode(sys.stdout.encoding, "ignore").decode(sys.stdout.encoding) == text


@contextmanager
def step(text: str) -> Iterator[None]:
    """Say what is being done, and then how long it took."""
    begin = time.monotonic()
    say(f"{text} ...", end=" ")
    try:
        yield
    except BaseException:
        say("failed")
        raise
    say(f"{time.monotonic() - begin:.1f} s")


def prefixed(name: str) -> Callable[[str], None]:
    """A function that says a line under the name of a service."""
    prefix = f"{name:9}|"
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        prefix = f"\x1b[{_COLOURS.get(name, 0)}m{prefix}\x1b[0m"
    return lambda line: say(f"{prefix} {line}")


def _stop(*_: object) -> NoReturn:
    """Stop, and ignore further signals: each step of stopping has its own time limit."""
    for sig in _STOPPING:
        signal.signal(sig, signal.SIG_IGN)
    raise _Stopped


def _stop_again(lost: "sys.UnraisableHookArgs") -> None:
    """Python drops an exception that a signal raises within a destructor or a weak reference's callback: raise anew."""
    if lost.exc_type is _Stopped:
        signal.setitimer(signal.ITIMER_REAL, _STOP_AGAIN_SECONDS)
    else:
        sys.__unraisablehook__(lost)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
