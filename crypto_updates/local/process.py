import re
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crypto_updates.local import guard
from crypto_updates.local.errors import StackError

_KEPT_LINES = 10_000
# For a program that hangs, not for a slow machine.
_HANG_SECONDS = 60.0


class Process:
    """A child process, started at once. `lines`: its latest output, stdout and stderr. `on_line` gets each line."""

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], object] | None = None,
    ) -> None:
        self.args = args
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._on_line = on_line
        self._news = threading.Condition()
        self._ended = False
        self._process = guard.spawn(args, env=env, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self._process.poll()

    def wait_for_line(self, pattern: str | re.Pattern[str], timeout: float = _HANG_SECONDS) -> str:
        """The first line, past ones included, that has the text or matches the regular expression.

        Raises StackError after `timeout` seconds, or when the output ends without it.
        """
        wanted = re.compile(re.escape(pattern) if isinstance(pattern, str) else pattern)

        def found() -> list[str]:
            return [line for line in self.lines if wanted.search(line)]

        with self._news:
            self._news.wait_for(lambda: found() or self._ended, timeout)
            if lines := found():
                return lines[0]
            last = "\n".join(list(self.lines)[-20:])
        raise StackError(f"{self} wrote no line with {pattern!r}; its last lines:\n{last}")

    def wait(self, timeout: float = _HANG_SECONDS) -> int:
        """Wait until the process ends by itself, and return its exit status. Raises subprocess.TimeoutExpired."""
        status = self._process.wait(timeout)
        self._reader.join(timeout)
        return status

    def stop(self, patience: float = 10.0) -> int:
        """Send SIGTERM, after `patience` seconds SIGKILL, and return the exit status."""
        status = guard.end(self._process, patience)
        self._reader.join(patience)
        return status

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(sig)

    def __str__(self) -> str:
        state = "still running" if self.status is None else f"ended with status {self.status}"
        return f"`{' '.join(self.args)}` ({state})"

    def _read(self) -> None:
        with self._process as child:
            for raw in child.stdout or ():
                line = raw.decode(errors="replace").rstrip("\r\n")
                with self._news:
                    self.lines.append(line)
                    self._news.notify_all()
                if self._on_line:
                    self._on_line(line)
        guard.forget(self._process)
        with self._news:
            self._ended = True
            self._news.notify_all()
