"""A process of the stage, and the keeper that starts it again when it has ended, as Compose's restart policy does."""

import contextlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, Self

from crypto_updates.harness import faketime
from crypto_updates.harness.app import App
from crypto_updates.local import programs
from crypto_updates.local.errors import StackError
from crypto_updates.local.lines import Lines
from crypto_updates.local.process import Process

# Seconds between two looks of a keeper.
LOOK = 0.01
# Seconds after its start before which a Python process may not have its signal handlers yet.
YOUNG = 3.0
# What a service says of work that is done.
# A worker whose turn it never is works, too, when it sees that another has sent the event.
WORK = re.compile(r"\[PUBLISH\] (Sent|The stream has)|\[TURN\] Another worker|\[EVENT\] (Stored|Already stored)")


def clock(ahead: int) -> dict[str, str]:
    """The variables that set a process's clock so many seconds ahead. Raises BinaryError."""
    return faketime.variables(f"+{ahead}s") if ahead else {}


class Restartable(Protocol):
    """What a Server and a Service are."""

    @property
    def status(self) -> int | None: ...
    def restart(self) -> None: ...
    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None: ...
    def stop(self, patience: float = 10.0) -> int: ...


class Service(App):
    """`python -m module` in a folder of its own, with its output in `<folder>.log`.

    `worked`: when it last said that it had published or stored something, or had no need to, by the monotonic clock.
    """

    def __init__(self, module: str, folder: Path, environ: Mapping[str, str], *arguments: str) -> None:
        self.worked = 0.0
        folder.mkdir()
        self._log = folder.with_suffix(".log").open("a", encoding="utf-8")

        def spawn(lines: Lines) -> Process:
            variables = os.environ | dict(environ)
            return programs.start(module, *arguments, environ=variables, cwd=folder, on_line=self._write, lines=lines)

        super().__init__(spawn, url="")
        self.start()

    def close(self) -> None:
        self.stop()
        self._log.close()

    def _write(self, line: str) -> None:
        self._log.write(f"{time.time():.3f} {line}\n")
        self._log.flush()
        if WORK.search(line):
            self.worked = time.monotonic()


class Member:
    """Kept alive while the `with` lasts. `kind` is what it is one of; `kills` counts its deaths by SIGKILL, and
    `busy` those of them before which it had published or stored something, which of a server is taken for granted.

    `ready` is when it was last started, by the monotonic clock: for a server, when it answered. `ends` are the exit
    statuses that SIGTERM has led to, of processes that were up.
    """

    def __init__(self, name: str, kind: str, process: Restartable) -> None:
        self.name, self.kind, self.process = name, kind, process
        self.ready = time.monotonic()
        self.kills = self.busy = 0
        self.ends: list[int] = []
        self._lock = threading.Lock()  # two faults may hit it at once
        self._starting = self._terminated = self._held = False
        self._tells = False  # the exit status is that of an undisturbed end
        self._done = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"keeper of {name}", daemon=True)

    def __enter__(self) -> Self:
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the keeper, and not the process."""
        self._done.set()
        self._keeper.join(60)

    @property
    def alive(self) -> bool:
        """True if it runs, and has answered if it is a server."""
        return not self._starting and self.process.status is None

    @property
    def has_worked(self) -> bool:
        """Since it was last started, as far as it tells: a server is taken to work."""
        return not isinstance(self.process, Service) or self.process.worked > self.ready

    def kill(self) -> None:
        """SIGKILL it, if it is alive."""
        with self._lock:
            if self.alive:
                self._starting = True  # until the keeper has seen to it
                self._tells = False
                self.kills += 1
                self.busy += self.has_worked
                self.signal(signal.SIGKILL)

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """It is killed, and not started again while this lasts."""
        self._held = True
        self.kill()
        try:
            yield
        finally:
            self._held = False

    def terminate(self) -> None:
        """SIGTERM it, if it is alive."""
        with self._lock:
            if self.alive:
                self._tells = self.has_worked and time.monotonic() - self.ready > YOUNG
                self._terminated = True
                self.signal(signal.SIGTERM)

    def signal(self, sig: signal.Signals) -> None:
        # A server under load can take its time to die; the keeper waits for it.
        with contextlib.suppress(ProcessLookupError, ChildProcessError, subprocess.TimeoutExpired):
            self.process.kill(sig)

    def await_end(self, within: float) -> bool:
        """True if it has ended after `terminate` or `kill`, and was started again."""
        deadline = time.monotonic() + within
        while (waiting := self._terminated or not self.alive) and time.monotonic() < deadline:
            time.sleep(LOOK)
        return not waiting

    def _keep(self) -> None:
        while not self._done.wait(LOOK):
            if (status := self.process.status) is None or self._held:
                continue
            self._starting = True
            if self._terminated and self._tells:
                self.ends.append(status)
            self._terminated = self._tells = False
            with contextlib.suppress(StackError):  # killed again before it answered: the next look finds it
                self.process.restart()
                self.ready = time.monotonic()
                self._starting = False
