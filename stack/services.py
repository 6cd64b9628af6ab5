"""The parts of a stack on this machine, in the order of their start: servers, provision, services."""

import contextlib
import http.client
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from crypto_updates.local import guard, ports, programs
from crypto_updates.local.errors import StackError
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Server
from stack import console

# They stop in reverse order: the worker before the API stub, which stores its last events.
NAMES = ("api_stub", "worker")
# Longer than provision waits for its two servers, so that the user sees provision's own message.
_PROVISION_SECONDS = 150.0


def data_folder(closing: ExitStack, asked: Path | None) -> Path:
    """The folder that was asked for, or one that is removed with this process."""
    return asked.expanduser().absolute() if asked else closing.enter_context(guard.folder())


def defaults(data: Path) -> dict[str, str]:
    """The variables of a demonstration, where the user has set none."""
    return {
        "OUTBOX_DIR": str(data / "outbox"),
        "MARKET_SOURCE": "simulated",
        "SCHEDULE": "*/5 * * * * *",
        "HTTP_PORT": str(ports.free(8080)),
        "HEALTH_PORT": str(ports.free(8081)),
    }


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
