"""The guardian: a process that outlives this one just long enough to end its children and remove its folders.

Run as a script, this file is the guardian. It reads lines from its standard input: `+name` adds and `-name` removes a
process id or the path of a folder. The input ends however the parent dies, and then the guardian cleans up.
"""

import atexit
import contextlib
import functools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

# Of the names of temporary folders.
PREFIX = "crypto-updates-"
_END_SECONDS = 5.0
# The child reports its id to the guardian before it becomes the program, so the guardian always knows it.
_SHELL = 'echo "+$$" >&0 && exec "$@" </dev/null'
_children: set[int] = set()


def spawn(args: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401 - those of Popen
    """Start a child, in a session of its own, that dies with this process. Call `end` or `forget` in the end."""
    shell = ["/bin/sh", "-c", _SHELL, "sh", *args]
    child = subprocess.Popen(shell, stdin=_input(), start_new_session=True, **options)
    _children.add(child.pid)
    return child


def end(child: subprocess.Popen[bytes], patience: float = 10.0) -> int:
    """Stop the child, by force after `patience` seconds, and return its exit status (negative for a signal)."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        child.send_signal(sig)
        child.send_signal(signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(patience)
            break
    return forget(child)


def forget(child: subprocess.Popen[bytes]) -> int:
    """Wait until the child ends by itself, end what it left running, and return its exit status."""
    status = child.wait()
    with contextlib.suppress(KeyError):
        _children.remove(child.pid)  # only once, and now: later the id may belong to another process
        _send([child.pid], signal.SIGKILL)
        _tell(f"-{child.pid}")
    return status


@contextlib.contextmanager
def folder(path: Path | None = None) -> Iterator[Path]:
    """A temporary folder, or this one, that is removed at the latest when this process ends."""
    path = path or Path(tempfile.gettempdir()) / f"{PREFIX}{secrets.token_hex(8)}"
    _tell(f"+{path}")
    path.mkdir(mode=0o700, exist_ok=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        _tell(f"-{path}")


@functools.cache
def _input() -> int:
    """The writing end of the guardian's input. The first call starts the guardian."""
    reading, writing = os.pipe()
    quiet = subprocess.DEVNULL
    guardian = subprocess.Popen(
        [sys.executable, "-IS", __file__], stdin=reading, stdout=quiet, stderr=quiet, start_new_session=True
    )
    os.close(reading)
    atexit.register(_dismiss, writing, guardian)
    return writing


def _dismiss(writing: int, guardian: subprocess.Popen[bytes]) -> None:
    os.close(writing)
    guardian.wait(3 * _END_SECONDS)


def _tell(line: str) -> None:
    os.write(_input(), f"{line}\n".encode())


def _send(groups: Iterable[int], sig: int) -> list[int]:
    """Signal the process groups, and return those that exist."""
    alive = []
    for group in groups:
        # macOS answers PermissionError for a group of zombies.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, sig)
            alive.append(group)
    return alive


def _clean(names: set[str]) -> None:
    alive = [int(name) for name in names if name.isdigit()]
    for sig in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + _END_SECONDS
        alive = _send(_send(alive, sig), signal.SIGCONT)
        while alive and time.monotonic() < deadline:
            time.sleep(0.02)
            alive = _send(alive, 0)
    for name in names:
        if not name.isdigit():
            shutil.rmtree(name, ignore_errors=True)


def _watch() -> None:
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.SIG_IGN)
    names: set[str] = set()
    for line in sys.stdin:
        (names.add if line[0] == "+" else names.discard)(line[1:].rstrip("\n"))
    _clean(names)


if __name__ == "__main__":
    _watch()
