import re
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from crypto_updates.local import guard
from crypto_updates.local.errors import StackError
from crypto_updates.local.lines import Lines

# For a program that hangs, not for a slow machine.
_HANG_SECONDS = 60.0


class Process:
    """A child process, started at once. `lines`: its latest output, stdout and stderr. `on_line` gets each line.

    With the `lines` of another process given, its own follow them.
    """

    def __init__(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        on_line: Callable[[str], object] | None = None,
        lines: Lines | None = None,
    ) -> None:
        self.args = args
        self.lines = Lines() if lines is None else lines
        self._on_line = on_line
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

    def wait_for_line(self, pattern: str | re.Pattern[str], timeout: float = _HANG_SECONDS, *, after: int = 0) -> str:
        """The first line that has the text or matches the regular expression: of all lines, past ones included, or of
        those behind the mark `after`, which is an earlier `lines.written`.

        Raises StackError after `timeout` seconds, or when the output ends without it.
        """
        wanted = re.compile(re.escape(pattern) if isinstance(pattern, str) else pattern)
        line, looked = None, after  # each line is looked at once, because a server may write thousands a second

        def is_over() -> bool:
            nonlocal line, looked
            line, looked = self.lines.find(wanted, looked), self.lines.written
            return line is not None or self._ended

        with self.lines.news:
            self.lines.news.wait_for(is_over, timeout)
        if line is not None:
            return line
        last = "\n".join(self.lines.since(after)[-20:])
        raise StackError(f"{self} wrote no line with {pattern!r}; its last lines:\n{last}")

    def wait(self, timeout: float = _HANG_SECONDS) -> int:
        """Wait until the process ends by itself, and return its exit status. What it left running ends with it, which
        would otherwise hold its output open. Raises subprocess.TimeoutExpired.
        """
        self._process.wait(timeout)
        status = guard.forget(self._process)
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
                self.lines.add(line)
                if self._on_line:
                    self._on_line(line)
        guard.forget(self._process)
        with self.lines.news:
            self._ended = True
            self.lines.news.notify_all()
