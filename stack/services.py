"""The parts of a stack on this machine, in the order of their start: servers, provision, services."""

import contextlib
import http.client
import os
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from api_stub.config import ApiSettings
from crypto_updates.local import guard, ports, programs
from crypto_updates.local.errors import StackError
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Server
from crypto_updates.service import environment
from crypto_updates.service.config import ConfigError
from stack import console
from worker.config import WorkerSettings

# They stop in reverse order: the worker before the API stub, which stores its last events.
NAMES = ("api_stub", "worker")
# Longer than provision waits for its two servers, so that the user sees provision's own message.
_PROVISION_SECONDS = 150.0


def folder(path: str) -> Path:
    """The folder of an option."""
    return Path(path).expanduser().absolute()


def data_folder(closing: ExitStack, asked: Path | None) -> Path:
    """The folder that was asked for, or one that is removed with this process."""
    return asked or closing.enter_context(guard.folder())


def defaults(data: Path) -> dict[str, str]:
    """The variables of a demonstration, where the user has set none."""
    return {
        "OUTBOX_DIR": str(data / "outbox"),
        "MARKET_SOURCE": "simulated",
        "SCHEDULE": "*/5 * * * * *",
        "HTTP_PORT": str(ports.free(8080)),
        "HEALTH_PORT": str(ports.free(8081)),
    }


def given() -> dict[str, str]:
    """What the user has set, in the process's environment or in `.env`."""
    return {name: value for name, value in environment.read().values.items() if value or name in os.environ}


def problems(environ: Mapping[str, str]) -> list[str]:
    """A line for each value that a service would refuse."""
    lines = list(environment.read().problems)
    for settings in (ApiSettings, WorkerSettings):
        try:
            settings.load(environ)
        except ConfigError as error:
            lines += str(error).splitlines()
    return list(dict.fromkeys(lines))


def address(environ: Mapping[str, str]) -> str:
    """Host and port at which a client on this machine finds the API stub."""
    host = environ.get("HTTP_HOST", "")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is not bound
    return f"{f'[{host}]' if ':' in host else host}:{environ['HTTP_PORT']}"


def start_server(closing: ExitStack, server: Server) -> None:
    with console.step(f"Starting {server.name}"):
        closing.enter_context(server)


def provision(environ: Mapping[str, str], *options: str) -> None:
    """Make stream, consumer and indexes. Raises StackError with provision's output."""
    with console.step("Provisioning"):
        process = programs.start("stack", "provision", *options, environ=environ)
        try:
            status = process.wait(_PROVISION_SECONDS)
        except subprocess.TimeoutExpired as error:
            raise StackError(f"provision did not end within {_PROVISION_SECONDS:.0f} s") from error
        finally:
            process.stop()
        if status:
            raise StackError("\n".join([*process.lines, f"provision ended with status {status}"]))


def start(name: str, environ: Mapping[str, str]) -> Process:
    return programs.start(name, environ=environ, on_line=console.prefixed(name))


def is_ready(address: str) -> bool:
    """True if the API stub at this host:port says that it is ready."""
    try:
        with contextlib.closing(http.client.HTTPConnection(address, timeout=1)) as connection:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
