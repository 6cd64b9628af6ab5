"""`crypto-updates demo`: the whole stack on this machine, until Ctrl-C, or in the background until `demo --stop`."""

import math
import secrets
import shlex
import shutil
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from crypto_updates.clock.cron import Cron
from crypto_updates.clock.expression import CronError
from crypto_updates.local import guard, ports, programs
from crypto_updates.local.errors import StackError
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer, Server
from crypto_updates.service import lifecycle
from stack import console, services
from stack.background import Announce, Background
from stack.faults import plan
from stack.faults.agenda import Agenda
from stack.faults.stage import Stage

# Variables for the user's own servers. The demo's servers ask for no credential, and they are no cluster.
_PLAIN = dict.fromkeys(("NATS_USER", "NATS_PASSWORD", "NATS_TOKEN", "NATS_CREDS", "NATS_CA", "MONGO_READER_URL"), "")
_PLAIN |= {"NATS_INBOX_PREFIX": "_INBOX", "NATS_API_PREFIX": "$JS.API", "STREAM_REPLICAS": "1"}
_PLAIN |= {f"{name}_FILE": "" for name in ("NATS_URL", "MONGO_URL", *_PLAIN)}
_PORTS = {"nats": "nats-server", "mongo": "mongod", "http": "the page"}
_BACKGROUND = Background("demo", "No demo without --data runs in the background; --stop --data DIR stops the one there")
_NAME = "crypto-updates"
# The environment of this command need not be on the path.
_COMMAND = _NAME if shutil.which(_NAME) else shlex.quote(str(Path(sys.executable).with_name(_NAME)))
_WATCH_SECONDS = 0.2
# In the background, where nobody sees what the demo waits for.
_READY_SECONDS = 60.0

Environ = dict[str, str]
# Gets the seconds until the demo was ready, and the variables by which a client finds it.
Ready = Callable[[float, Environ], None]


def run(parser: ArgumentParser, argv: list[str]) -> int:
    options = _arguments(parser, argv)
    if (status := _BACKGROUND.asked(options, options.data, partial(_in_background, options))) is not None:
        return status
    return console.until_stopped(
        lambda closing: _run(closing, services.data_folder(closing, options.data), options, _say_ready)
    )


def _arguments(parser: ArgumentParser, argv: list[str]) -> Namespace:
    parser.add_argument(
        "--data", metavar="DIR", type=services.folder, help="keep the data here (default: leave nothing)"
    )
    parser.add_argument(
        "--every", metavar="CRON", type=_schedule, help="the schedule (default: SCHEDULE, or '*/5 * * * * *')"
    )
    for name, server in _PORTS.items():
        text = f"the port of {server} (default: {'HTTP_PORT, or ' if name == 'http' else ''}a free one)"
        parser.add_argument(f"--{name}-port", metavar="PORT", type=console.port, default=0, help=text)
    text = "break a part every half minute; the same seed breaks the same ones again"
    parser.add_argument("--faults", metavar="SEED", nargs="?", const=secrets.token_hex(3), help=text)
    text = "the time from one fault to the next (default: 30)"
    parser.add_argument("--faults-every", metavar="SECONDS", type=_seconds, default=30.0, help=text)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--detach", action="store_true", help="return when it is ready; it goes on in the background")
    where.add_argument(
        "--stop", action="store_true", help="stop the one in the background (with --data: the one there)"
    )
    return parser.parse_args(argv)


def _schedule(expression: str) -> str:
    try:
        Cron(expression)
    except CronError as error:
        raise ArgumentTypeError(str(error)) from error
    return expression


def _seconds(text: str) -> float:
    if text.isdecimal() and int(text) >= 1:
        return float(text)
    raise ArgumentTypeError(f"{text!r}: accepted: a whole number from 1")


def _in_background(options: Namespace, data: Path, announce: Announce) -> int:
    def say_ready(seconds: float, where: Environ) -> None:
        lines = [f"Ready after {seconds:.1f} s: {where['API_URL']}", *_assignments(where)]
        announce("\n".join([*lines, f"Log: {data / _BACKGROUND.log}", _BACKGROUND.how_to_stop(options.data)]))

    def run(closing: ExitStack) -> int:
        folder = options.data or closing.enter_context(guard.folder(data))
        return _run(closing, folder, options, say_ready)

    return console.until_stopped(run, alone=True)


def _say_ready(seconds: float, where: Environ) -> None:
    console.say(f"Ready after {seconds:.1f} s: {where['API_URL']} (Ctrl-C stops all)")


def _assignments(where: Environ) -> list[str]:
    return [f"{name}={shlex.quote(value)}" for name, value in where.items()]


def _run(closing: ExitStack, data: Path, options: Namespace, say_ready: Ready) -> int:
    begin = time.monotonic()
    environ = _environ(data, options)
    if problems := services.problems(environ):
        print(*problems, sep="\n", file=sys.stderr)
        return lifecycle.BAD_CONFIG
    for name in _PORTS:
        ports.check(f"--{name}-port", getattr(options, f"{name}_port"))
    # mongod comes first: it refuses data that another mongod uses, so two demos cannot share a folder.
    mongod = Mongod(data / "mongo", port=options.mongo_port)
    nats_server = NatsServer(data / "nats", port=options.nats_port)
    parts: list[Server | Process] = [mongod, nats_server]
    for server in (mongod, nats_server):
        services.start_server(closing, server)
    where = {"NATS_URL": nats_server.url, "MONGO_URL": mongod.url}
    # On a small disk, nats-server has no room for the usual stream.
    services.provision(environ | where, "--small")
    stage = closing.enter_context(Stage(data, nats_server, mongod))
    environ |= stage.environ
    for name in services.NAMES:
        service = services.start(name, environ)
        closing.callback(service.stop)
        parts.append(service)
    where |= {"API_URL": f"http://{services.address(environ)}", "SCHEDULE": environ["SCHEDULE"]}
    repaired_by = {"MARKET_SOURCE": environ["MARKET_SOURCE"]}
    verify = "make verify" if (programs.FOLDER / "Makefile").is_file() else f"{_COMMAND} verify"
    console.say(f"To check it: {' '.join(_assignments(where | repaired_by))} {verify}")
    agenda = _agenda(stage, options)
    where["HARNESS_URL"] = _control(closing, agenda)
    deadline = begin + _READY_SECONDS if options.detach else math.inf

    def ready() -> None:
        say_ready(time.monotonic() - begin, where)

    return _watch(parts, ready, services.address(environ), deadline, agenda.step)


def _environ(data: Path, options: Namespace) -> Environ:
    """The variables of the services, but for the servers' addresses."""
    environ = services.defaults(data) | services.given() | _PLAIN | {"OUTBOX_DIR": str(data / "outbox")}
    for name in ("NATS_URL", "MONGO_URL"):
        environ.pop(name, None)
    asked = {"SCHEDULE": options.every, "HTTP_PORT": str(options.http_port or "")}
    return environ | {name: value for name, value in asked.items() if value}


def _agenda(stage: Stage, options: Namespace) -> Agenda:
    seed, every = options.faults, options.faults_every
    if seed is not None:
        console.say(f"A fault every {every:g} s; the same ones again: --faults={shlex.quote(seed)}")
    return Agenda(stage, iter(()) if seed is None else plan.draw(seed), every)


def _control(closing: ExitStack, agenda: Agenda) -> str:
    """Open the control port, and return its URL."""
    # It takes 0.3 s to import, while the services start.
    from stack.faults import port  # noqa: PLC0415 - see above

    url = closing.enter_context(port.opened(agenda.ask))
    console.say(f"To break a part: HARNESS_URL={url} {_COMMAND} fault nats down 5")
    return url


def _watch(
    parts: list[Server | Process],
    say_ready: Callable[[], None],
    address: str,
    deadline: float,
    step: Callable[[], None],
) -> int:
    """Say when it is ready, and from then on take steps. Return 1 when a part ends, which none should but in a step.

    Raises StackError after the deadline.
    """
    ready = False
    while all(part.status is None for part in parts):
        if ready:
            step()
        elif services.is_ready(address):
            ready = True
            say_ready()
        elif time.monotonic() > deadline:
            raise StackError(f"not ready within {_READY_SECONDS:.0f} s: http://{address}/readyz says why")
        time.sleep(_WATCH_SECONDS)
    for part in parts:
        if part.status is not None:
            console.say(f"{part}: stopping the rest")
    return 1
