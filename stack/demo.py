"""`crypto-updates demo`: the whole stack on this machine, until Ctrl-C."""

import os
import time
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path

from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer, Server
from stack import console, services

# Variables for the user's own servers. The demo's servers ask for no credential.
_NO_SECRETS = {"NATS_CREDS": "", "NATS_CA": ""}
_WATCH_SECONDS = 0.2


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("--data", metavar="DIR", type=Path, help="keep the data here (default: leave nothing)")
    parser.add_argument("--every", metavar="CRON", help="the schedule (default: SCHEDULE, or '*/5 * * * * *')")
    options = parser.parse_args(argv)
    return console.until_stopped(lambda closing: _run(closing, options.data, options.every))


def _run(closing: ExitStack, asked: Path | None, every: str | None) -> int:
    begin = time.monotonic()
    data = services.data_folder(closing, asked)
    # mongod comes first: it refuses data that another mongod uses, so two demos cannot share a folder.
    mongod, nats_server = Mongod(data / "mongo"), NatsServer(data / "nats")
    parts: list[Server | Process] = [mongod, nats_server]
    for server in (mongod, nats_server):
        services.start_server(closing, server)
    environ = services.defaults(data) | os.environ | _NO_SECRETS | ({"SCHEDULE": every} if every else {})
    environ |= {"MONGO_URL": mongod.url, "NATS_URL": nats_server.url, "OUTBOX_DIR": str(data / "outbox")}
    services.provision(environ, "--small")  # on a small disk, nats-server has no room for the usual stream
    for name in services.NAMES:
        service = services.start(name, environ)
        closing.callback(service.stop)
        parts.append(service)
    address = f"127.0.0.1:{environ['HTTP_PORT']}"
    where = f"NATS_URL={nats_server.url} MONGO_URL={mongod.url} API_URL=http://{address}"
    console.say(f"To check it: {where} SCHEDULE='{environ['SCHEDULE']}' make verify")
    return _watch(parts, address, begin)


def _watch(parts: list[Server | Process], address: str, begin: float) -> int:
    """Show the page's address when it is ready. Return 1 when a part ends: none of them should."""
    ready = False
    while all(part.status is None for part in parts):
        if not ready and services.is_ready(address):
            ready = True
            console.say(f"Ready after {time.monotonic() - begin:.1f} s: http://{address} (Ctrl-C stops all)")
        time.sleep(_WATCH_SECONDS)
    for part in parts:
        if part.status is not None:
            console.say(f"{part}: stopping the rest")
    return 1
