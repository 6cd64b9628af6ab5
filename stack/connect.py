"""`docker compose run --rm stack connect`: how to connect a client of your own to the stack in Compose."""

import os
import re
import sys
from argparse import ArgumentParser
from pathlib import Path

from stack.setup.servers import SECRETS


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.parse_args(argv)
    try:
        subscriber, operator, mongo = (
            Path(SECRETS, name).read_text(encoding="utf-8")
            for name in ("nats-subscriber", "nats-password", "mongo-url")
        )
    except OSError as error:
        print(f"{error}: start the stack in Compose first, then: make connect", file=sys.stderr)
        return 1
    nats_url = f"nats://localhost:{os.environ.get('NATS_PORT') or 4222}"
    api_url = f"http://localhost:{os.environ.get('HTTP_PORT') or 8080}"
    print(_text(nats_url, api_url, subscriber, operator, _from_outside(mongo, os.environ.get("MONGO_PORT") or "27017")))
    return 0


def _from_outside(url: str, port: str) -> str:
    """The URL for clients on this machine, with the path of the CA as the user has it."""
    return re.sub(r"tlsCAFile=[^&]*", "tlsCAFile=secrets/ca.pem", url.replace("@mongo:27017/", f"@localhost:{port}/"))


def _text(nats_url: str, api_url: str, subscriber: str, operator: str, mongo_url: str) -> str:
    ca = "\nNATS_CA=secrets/ca.pem" if "tls=true" in mongo_url else ""
    return f"""\
# Save one of the two parts as FILE, then: set -a; . ./FILE; set +a
#
# A subscriber or an API server of your own: it may read crypto.updates, and nothing else.
NATS_URL={nats_url}
NATS_USER=subscriber
NATS_PASSWORD={subscriber}{ca}

# The commands of this repository on this machine (make verify, make audit), and events of your own:
# it may publish on crypto.updates, and read and remove events. MongoDB can be reached after
# docker compose --profile tools up --detach
NATS_URL={nats_url}
NATS_USER=operator
NATS_PASSWORD={operator}{ca}
NATS_INBOX_PREFIX=_INBOX_operator
MONGO_URL='{mongo_url}'
API_URL={api_url}"""
