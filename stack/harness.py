"""`crypto-updates harness`: an event source, a market and faults for an API server of your own, without Docker.

    crypto-updates harness --exec 'npm test'    runs the command with the variables set, and hands on its exit status
    crypto-updates harness                      until Ctrl-C
    crypto-updates harness --detach             in the background, until: crypto-updates harness --stop

It starts a NATS server, a MongoDB and a market, and says by which variables a server finds them. A test in any language
asks the control port at HARNESS_URL for the rest: /openapi.json says what there is. From a shell: publish, fault, wait,
market.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from crypto_updates.harness.control import routes
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.env import ANYWHERE, DEFAULT_PORT, LOOPBACK, Place
from crypto_updates.local import guard, ports
from crypto_updates.local.servers import Mongod
from stack import console, control
from stack.background import Announce, Background

_BACKGROUND = Background("harness")
_PORTS = ("nats", "mongo", "market")
# For the command that runs in the harness, to end by itself after SIGTERM.
_END_SECONDS = 10.0
_CHECK_SECONDS = 0.05

Environ = dict[str, str]
# Gets the seconds until all was ready, and the variables.
Ready = Callable[[float, Environ], int]


def run(parser: ArgumentParser, argv: list[str]) -> int:
    options = _arguments(parser, argv)
    if (status := _BACKGROUND.asked(options, None, partial(_in_background, options))) is not None:
        return status
    if options.exec is None:
        return console.until_stopped(lambda closing: _run(closing, options, console.say, _show))
    execute = partial(_run, options=options, tell=_tell, ready=partial(_execute, options.exec))
    return console.until_stopped(execute, stopped=console.INTERRUPTED)


def _arguments(parser: ArgumentParser, argv: list[str]) -> Namespace:
    what = parser.add_mutually_exclusive_group()
    text = "run it in a shell, stop all, and exit with its status"
    what.add_argument("--exec", metavar="COMMAND", type=_command, help=text)
    what.add_argument("--detach", action="store_true", help="return when it is ready; it goes on in the background")
    what.add_argument("--stop", action="store_true", help="stop the one in the background")
    text = f"the control port (default: {DEFAULT_PORT}, or a free one if that is taken)"
    parser.add_argument("--port", type=console.port, default=0, help=text)
    for name in _PORTS:
        text = "a fixed port, for servers with an address that cannot be changed (default: a free one)"
        parser.add_argument(f"--{name}-port", metavar="PORT", type=console.port, default=0, help=text)
    text = f"the address to listen on: this machine's own (the default), or {ANYWHERE}, all of them, in a container"
    parser.add_argument("--host", choices=(LOOPBACK, ANYWHERE), default=LOOPBACK, help=text)
    options = parser.parse_args(argv)
    given = _given_ports(options)
    if twice := [f"{name} {port}" for name, port in given.items() if port and [*given.values()].count(port) > 1]:
        parser.error(f"{', '.join(twice)}: accepted: a port of its own for each")
    return options


def _given_ports(options: Namespace) -> dict[str, int]:
    """By option. 0: a free one."""
    return {"--port": options.port} | {f"--{name}-port": getattr(options, f"{name}_port") for name in _PORTS}


def _command(text: str) -> str:
    if text.strip():
        return text
    raise ArgumentTypeError(f"{text!r}: accepted: a command for a shell")


def _in_background(options: Namespace, folder: Path, announce: Announce) -> int:
    def ready(seconds: float, environ: Environ) -> int:
        where = [f"Log: {folder / _BACKGROUND.log}", _BACKGROUND.how_to_stop(None)]
        announce("\n".join([f"Ready after {seconds:.1f} s: {environ[control.VARIABLE]}", *_assigned(environ), *where]))
        return _pause()

    def run(closing: ExitStack) -> int:
        closing.enter_context(guard.folder(folder))
        return _run(closing, options, console.say, ready)

    return console.until_stopped(run, alone=True)


def _run(closing: ExitStack, options: Namespace, tell: Callable[[str], object], ready: Ready) -> int:
    begin = time.monotonic()
    for option, port in _given_ports(options).items():
        ports.check(option, port)
    folder = closing.enter_context(guard.folder())
    mongod = closing.enter_context(Mongod())
    place = Place(options.host, options.nats_port, options.mongo_port, options.market_port)
    crypto = closing.enter_context(Crypto(mongod, folder, place))
    port = options.port or ports.free(DEFAULT_PORT)
    url = closing.enter_context(routes.serve(crypto, tell, port, options.host))
    environ = crypto.env(LOOPBACK if options.host == LOOPBACK else "localhost")
    return ready(time.monotonic() - begin, environ | {control.VARIABLE: url})


def _show(seconds: float, environ: Environ) -> int:
    console.say(f"Ready after {seconds:.1f} s: {environ[control.VARIABLE]} (Ctrl-C stops all)")
    console.say("\n".join(_assigned(environ)))
    return _pause()


def _pause() -> int:
    while True:
        signal.pause()


def _execute(command: str, seconds: float, environ: Environ) -> int:
    """Run the command in a shell, and return its exit status as a shell tells it."""
    _tell(f"Ready after {seconds:.1f} s: {environ[control.VARIABLE]}")
    child = guard.spawn(["/bin/sh", "-c", command], env=os.environ | environ)
    try:
        status = guard.forget(child)
    except BaseException:
        _end(child)
        raise
    return status if status >= 0 else 128 - status


def _end(child: subprocess.Popen[bytes]) -> None:
    """Send SIGTERM to all processes of the command, and let them end in order: the shell, which is first, ends at once.

    Force ends those that are left after _END_SECONDS.
    """
    deadline = time.monotonic() + _END_SECONDS
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of processes that have ended
        os.killpg(child.pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            child.poll()
            os.killpg(child.pid, 0)
            time.sleep(_CHECK_SECONDS)
    guard.end(child)


def _assigned(environ: Environ) -> list[str]:
    return [f"{name}={shlex.quote(value)}" for name, value in environ.items()]


def _tell(text: str) -> None:
    """Standard output is for the command that runs in the harness."""
    print(text, file=sys.stderr, flush=True)
