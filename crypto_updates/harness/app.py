import http.client
import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

from crypto_updates.harness import answer
from crypto_updates.harness.answer import Answer
from crypto_updates.local.errors import StackError
from crypto_updates.local.fault import until
from crypto_updates.local.lines import Lines
from crypto_updates.local.process import Process

_LOOK_SECONDS = 0.05
_TOLD_LINES = 20
_ANSWER_SECONDS = 5.0
_HTTP = "http://"
# To all processes of a command, as `npm start` has several; other signals are for the first one, as Docker sends them.
_TO_ALL = (signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT)

Ready = str | re.Pattern[str] | None
Lacks = Callable[[], str | None]


class AppError(StackError):
    """The server under test ended, or is not ready."""


class App:
    """The server under test as a process. `spawn` starts it. `watch` is called before that, and returns what says
    what the server has not done yet, if anything.

    `ready`: an http:// URL, or a path of `url`, that answers with a status below 400; or else a line of its output.
    """

    def __init__(
        self,
        spawn: Callable[[Lines], Process],
        *,
        url: str,
        ready: Ready = None,
        watch: Callable[[], Lacks] = lambda: lambda: None,
    ) -> None:
        self._spawn, self._ready, self._watch = spawn, ready, watch
        given = urlsplit(ready) if isinstance(ready, str) and ready.startswith(_HTTP) else None
        self.url = f"{given.scheme}://{given.netloc}" if given else url
        self.begin = 0  # the mark of the latest start
        self._lines = Lines()
        self._process: Process | None = None

    @property
    def process(self) -> Process:
        if self._process is None:
            raise AppError("the server was not started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def status(self) -> int | None:
        """The exit status, or None while it runs."""
        return self.process.status

    @property
    def lines(self) -> list[str]:
        """Its output so far, over restarts."""
        return self._lines.since(0)

    @property
    def mark(self) -> int:
        """The end of the output so far, for `wait_for_line`."""
        return self._lines.written

    def wait_for_line(self, pattern: str | re.Pattern[str], within: float = 10.0, *, after: int = 0) -> str:
        """The first line, behind the mark `after`, that has the text or matches the regular expression.

        Raises StackError after `within` seconds, or when the output ends without it.
        """
        return self.process.wait_for_line(pattern, within, after=after)

    def get(self, path: str = "/", timeout: float = 5.0) -> Answer:
        """What it answers to a GET. Raises OSError, http.client.HTTPException."""
        return answer.get(path if path.startswith(_HTTP) else f"{self.url}/{path.removeprefix('/')}", timeout)

    def start(self, within: float = 30.0) -> None:
        """Start, and return when it is ready. Raises AppError, with its last lines, when it ends or is late."""
        self.begin, lacks = self.mark, self._watch()
        self._process = self._spawn(self._lines)
        deadline = time.monotonic() + within
        while lack := self._unready() or lacks():
            if self.status is not None:
                self.stop()  # what it left running, so that its output ends
                raise AppError(self._told(f"{self._process} before it was ready: it {lack}"))
            if time.monotonic() > deadline:
                raise AppError(self._told(f"{self._process}: after {within:g} s it {lack}"))
            time.sleep(_LOOK_SECONDS)

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal. For SIGKILL and SIGSTOP, return when it has taken effect."""
        process = self.process
        if sig not in _TO_ALL:
            process.kill(sig)
        elif process.status is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sig)
        if sig == signal.SIGKILL:
            process.wait()
        if sig == signal.SIGSTOP and process.status is None:
            with suppress(ChildProcessError):  # it has just ended
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def freeze(self) -> ExitStack:
        """Stop it in its tracks, until `thaw` or the end of a `with`."""
        self.kill(signal.SIGSTOP)
        return until(self.thaw)

    def thaw(self) -> None:
        self.kill(signal.SIGCONT)

    def stop(self, patience: float = 10.0) -> int:
        """Send SIGTERM, after `patience` seconds SIGKILL, and return the exit status (negative for a signal)."""
        if self._process is None:  # it could not be started
            return 0
        self.thaw()
        return self.process.stop(patience)

    def restart(self, within: float = 30.0) -> None:
        """Stop it if it runs, start it again with the same port, and return when it is ready. Raises AppError."""
        self.stop()
        self.start(within)

    def __str__(self) -> str:
        return str(self._process or "a server that was not started")

    def _unready(self) -> str | None:
        """What its `ready` still lacks."""
        if self._ready is None:
            return None
        if isinstance(self._ready, str) and self._ready.startswith((_HTTP, "/")):
            try:
                status = self.get(self._ready, timeout=_ANSWER_SECONDS).status
            except (OSError, http.client.HTTPException) as error:
                return f"did not answer {self._ready} ({error})"
            return f"answered {self._ready} with {status}" if status >= http.HTTPStatus.BAD_REQUEST else None
        pattern = re.compile(re.escape(self._ready) if isinstance(self._ready, str) else self._ready)
        return None if self._lines.find(pattern, self.begin) is not None else f"wrote no line with {self._ready!r}"

    def _told(self, what: str) -> str:
        return "\n".join([f"{what}; its last lines:", *self._lines.since(self.begin)[-_TOLD_LINES:]])
