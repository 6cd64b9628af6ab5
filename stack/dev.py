"""`crypto-updates dev`: the services, restarted when their files change, with your own servers or with new ones."""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import crypto_updates
from crypto_updates.local import ports, programs
from crypto_updates.local.errors import StackError
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from crypto_updates.service import environment, lifecycle
from stack import console, services

_LIBRARY = Path(crypto_updates.__file__).parent
_SUFFIXES = {".py", ".html", ".css", ".js"}
_CHECK_SECONDS = 0.5

Environ = dict[str, str]


class Reloaded:
    """A service that restarts after each change to its files, also when it has failed."""

    def __init__(self, name: str, environ: Callable[[], Environ]) -> None:
        self._name = name
        self._environ = environ
        self._start()

    def _start(self) -> None:
        self._state = _state(self._name)
        self._failed = False
        self._process: Process = services.start(self._name, self._environ())

    def check(self) -> None:
        if _state(self._name) != self._state:
            console.say(f"{self._name} has changed: restarting it")
            self.stop()
            self._start()
        elif self._process.status is not None and not self._failed:
            self._failed = True
            console.say(f"{self._process}: waiting for a change")

    def stop(self) -> None:
        self._process.stop()


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument(
        "--data", metavar="DIR", type=services.folder, help="keep the data here (default: leave nothing)"
    )
    options = parser.parse_args(argv)
    if problems := environment.read().problems:
        print(*problems, sep="\n", file=sys.stderr)
        return lifecycle.BAD_CONFIG
    return console.until_stopped(lambda closing: _develop(closing, options.data))


def _state(name: str) -> dict[Path, int]:
    """The files of a service, and the time of their last change."""
    folders = (programs.FOLDER / name, _LIBRARY)
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in _SUFFIXES]
    found = {}
    for path in [*files, environment.DOTENV]:
        with suppress(FileNotFoundError):
            found[path] = path.stat().st_mtime_ns
    return found


def _develop(closing: ExitStack, asked: Path | None) -> int:
    data = services.data_folder(closing, asked)
    default = services.defaults(data)
    own: Environ = {}

    def environ() -> Environ:
        """Read anew at each start. What a service would read from `.env` wins over the defaults here."""
        return default | services.given() | own

    servers = {
        "MONGO_URL": Mongod(data / "mongo", port=ports.free(27017)),
        "NATS_URL": NatsServer(data / "nats", port=ports.free(4222)),
    }
    for variable, server in servers.items():
        if not environ().get(variable):
            services.start_server(closing, server)
            own[variable] = server.url
    try:
        services.provision(environ(), *(["--small"] if "NATS_URL" in own else []))
    except StackError as error:  # your own servers may be provisioned already, by someone with more rights
        console.say(str(error))
    return _reload(closing, environ)


def _reload(closing: ExitStack, environ: Callable[[], Environ]) -> int:
    reloaded = []
    for name in services.NAMES:
        service = Reloaded(name, environ)
        closing.callback(service.stop)
        reloaded.append(service)
    console.say(f"Page: http://{services.address(environ())} (Ctrl-C stops all)")
    while True:
        for service in reloaded:
            service.check()
        time.sleep(_CHECK_SECONDS)
