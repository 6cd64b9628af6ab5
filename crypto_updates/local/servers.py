"""A real nats-server and a real mongod on loopback ports: ready when they answer, killed and restarted at will."""

import json
import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar, NamedTuple, Self

from crypto_updates.local import binaries, guard, ports
from crypto_updates.local.errors import PortTakenError, StackError
from crypto_updates.local.fault import until

_READY_SECONDS = 60.0
_PORT_ATTEMPTS = 5


class Place(NamedTuple):
    """Where a server runs: the address that it listens on, and the command that starts it there."""

    host: str = "127.0.0.1"
    command: Sequence[str] = ()


HERE = Place()


class Server(ABC):
    """A server process. It keeps its data in `data`, or else in a temporary folder.

    Port 0 means any free port; the server keeps it over restarts. Entering raises StackError if it cannot start.
    """

    name: ClassVar[str]
    scheme: ClassVar[str]

    def __init__(self, data: Path | None = None, *, port: int = 0, place: Place = HERE) -> None:
        self.port = port
        self.place = place
        self.data: Path
        self._given = data
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.address}"

    @property
    def address(self) -> str:
        return f"{self.place.host}:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise StackError(f"{self.name} was not started: use it in a `with` statement")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def status(self) -> int | None:
        """The exit status, or None while the process runs."""
        return self.process.poll()

    @property
    def log(self) -> Path:
        return self.data / f"{self.name}.log"

    def __str__(self) -> str:
        return self.name + (" (still running)" if self.status is None else f" (ended with status {self.status})")

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            self.data = self._given or closing.enter_context(guard.folder())
            any_port = not self.port
            self.start()
            if any_port:
                closing.callback(ports.release, self.port)
            closing.callback(self.stop)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def start(self) -> None:
        """Start, and return when the server answers. If another program takes the free port first, try another."""
        self.data.mkdir(parents=True, exist_ok=True)
        for _ in range(1 if self.port else _PORT_ATTEMPTS):
            port = self.port or ports.free()
            try:
                self._launch(port)
            except PortTakenError as error:
                taken = error
            else:
                self.port = port
                return
        raise PortTakenError(f"{self.place.host}:{port}: {taken}") from taken

    def stop(self, patience: float = 10.0) -> int:
        """Stop, by force after `patience` seconds, and return the exit status."""
        return guard.end(self.process, patience)

    def kill(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal. For SIGKILL and SIGSTOP, return when it has taken effect."""
        self.process.send_signal(sig)
        if sig == signal.SIGKILL:
            self.process.wait(10)
        if sig == signal.SIGSTOP:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def restart(self) -> None:
        """Start again on the same port and data, whether the server still runs or not."""
        self.stop()
        self.start()

    def freeze(self) -> ExitStack:
        """Stop it in its tracks: connections stand and nothing answers, until `thaw` or the end of a `with`."""
        self.kill(signal.SIGSTOP)
        return until(self.thaw)

    def thaw(self) -> None:
        self.kill(signal.SIGCONT)

    def down(self, seconds: float | None = None) -> ExitStack:
        """Kill it, and start it again after so many seconds; without a number, at the end of a `with`."""
        self.kill()
        if seconds is not None:
            time.sleep(seconds)
            self.start()
        return until(self.mend)

    def mend(self) -> None:
        """Thaw it if it is frozen, start it if it has ended, and leave it alone if it is well."""
        self.thaw()
        if self.status is not None:
            self.start()

    def _launch(self, port: int) -> None:
        binary = binaries.find(self.name)
        with self.log.open("ab") as log:
            begin = log.tell()
            args = [*self.place.command, binary, *self._args(port)]
            self._process = guard.spawn(args, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._await(port, binary, begin)
        except BaseException:
            self.stop()
            raise

    def _await(self, port: int, binary: str, begin: int) -> None:
        deadline = time.monotonic() + _READY_SECONDS
        while not self._answers(port):
            if (status := self.process.poll()) is not None:
                raise binaries.failure(binary, status, self.log.read_bytes()[begin:].decode(errors="replace"))
            if time.monotonic() > deadline:
                where = f"{self.place.host}:{port}"
                raise StackError(f"{self.name} did not answer on {where} within {_READY_SECONDS:.0f} s")
            time.sleep(0.02)

    @abstractmethod
    def _args(self, port: int) -> Sequence[str]:
        """The command line, without the binary."""

    @abstractmethod
    def _answers(self, port: int) -> bool:
        """True if this process is ready, and not another one that took the port."""


class NatsServer(Server):
    """A nats-server. `config` is the text of its configuration file; port and folders come from the command line."""

    name = "nats-server"
    scheme = "nats"

    def __init__(
        self,
        data: Path | None = None,
        *,
        port: int = 0,
        place: Place = HERE,
        jetstream: bool = True,
        config: str = "",
    ) -> None:
        super().__init__(data, port=port, place=place)
        # Without `sync_interval: always` a power cut can lose an acknowledged message.
        self._config = ("jetstream { sync_interval: always }\n" if jetstream else "") + config
        self.id = f"stack-{secrets.token_hex(4)}"
        self._monitor_port = 0

    @property
    def monitor_url(self) -> str:
        """Where it tells of itself: https://docs.nats.io/running-a-nats-service/nats_admin/monitoring."""
        return f"http://{self.place.host}:{self._monitor_port}"

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        ports.release(self._monitor_port)

    def _args(self, port: int) -> Sequence[str]:
        path = self.data / "nats-server.conf"
        path.write_text(self._config, encoding="utf-8")
        if not (self.port and self._monitor_port):  # not started yet: it may be the port that another program took
            self._monitor_port = ports.free()
        listen = ["--addr", self.place.host, "--port", str(port), "--http_port", str(self._monitor_port)]
        return ["--config", str(path), *listen, "--name", self.id, "--store_dir", str(self.data)]

    def _answers(self, port: int) -> bool:
        try:
            with (
                socket.create_connection((self.place.host, port), timeout=1) as connection,
                connection.makefile("rb") as file,
            ):
                verb, _, fields = file.readline().partition(b" ")
        except OSError:
            return False
        return verb == b"INFO" and json.loads(fields)["server_name"] == self.id


class Mongod(Server):
    """A mongod that is the primary of a replica set of one."""

    name = "mongod"
    scheme = "mongodb"

    def _args(self, port: int) -> Sequence[str]:
        listen = ["--bind_ip", self.place.host, "--port", str(port), "--nounixsocket"]
        sizes = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"]
        return [*listen, *sizes, "--dbpath", str(self.data), "--replSet", "rs0", "--quiet"]

    def _answers(self, port: int) -> bool:
        # The pytest plugin imports this module, so what costs time is imported only when a mongod is used.
        from crypto_updates.local import replica_set  # noqa: PLC0415 - see above

        return self._listens(port) and replica_set.is_ready(f"{self.place.host}:{port}", self.pid)

    def _listens(self, port: int) -> bool:
        try:
            socket.create_connection((self.place.host, port), timeout=1).close()
        except OSError:
            return False
        return True
