"""`docker compose run --rm stack connect`: how to connect a client of your own to the stack in Compose.

With a language, it prints only that program: docker compose run --rm -T stack connect nats.js >subscriber.js
"""

import os
import re
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

from stack import snippet
from stack.setup.servers import MONGO, NATS, SECRETS, TRIGGER

FILES = ("nats-subscriber", "nats-consumer", "nats-password", "mongo-url")
NETWORK = "crypto-updates_edge"
# The servers, and where they are on this machine. The stack of compose.yaml has the first one.
NATS_PORTS = list(zip(NATS, ("NATS_PORT", "NATS_PORT_2", "NATS_PORT_3"), (4222, 4223, 4224), strict=True))


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("language", nargs="?", choices=list(snippet.PROGRAMS), help="print only this program")
    language = parser.parse_args(argv).language
    try:
        secrets = {name: Path(SECRETS, name).read_text(encoding="utf-8") for name in FILES}
    except OSError as error:
        print(f"{error}: start the stack in Compose first, then: make connect", file=sys.stderr)
        return 1
    tls = "tls=true" in secrets["mongo-url"]
    if language:
        print(snippet.program(language, tls=tls), end="")
        return 0
    print(_variables(secrets, os.environ, tls=tls))
    for name in snippet.PROGRAMS:
        print(f"\n# {name}:\n\n{snippet.program(name, tls=tls)}", end="")
    return 0


def _from_outside(url: str, port: str) -> str:
    """The URL for clients on this machine, with the path of the CA as the user has it."""
    here = re.sub(r"@[^/]+/", f"@localhost:{port}/", url)
    return re.sub(r"tlsCAFile=[^&]*", "tlsCAFile=secrets/ca.pem", here)


def _variables(secrets: Mapping[str, str], environ: Mapping[str, str], *, tls: bool) -> str:
    ca = "\nNATS_CA=secrets/ca.pem" if tls else ""
    is_cluster = f"{MONGO[-1]}:" in secrets["mongo-url"]
    servers = NATS_PORTS if is_cluster else NATS_PORTS[:1]
    nats_url = ",".join(f"nats://localhost:{environ.get(variable) or port}" for _, variable, port in servers)
    nats_url_within = ",".join(f"nats://{name}:4222" for name, _, _ in servers)
    mongo_url = _from_outside(secrets["mongo-url"], environ.get("MONGO_PORT") or "27017")
    anonymous = "So may" if environ.get("NATS_ANONYMOUS") == "on" else "With NATS_ANONYMOUS=on in .env, so may"
    return f"""\
# Save one of the parts as FILE, then: set -a; . ./FILE; set +a
# The programs below read these variables. nats.js takes no user and password from a URL.
#
# A subscriber or an API server of your own. It may hear crypto.updates and {environ.get("TRIGGER_SUBJECT") or TRIGGER},
# and nothing else. {anonymous} a client without a login.
NATS_URL={nats_url}
NATS_USER=subscriber
NATS_PASSWORD={secrets["nats-subscriber"]}{ca}

# The same in a container of your own: docker run --network {NETWORK} --env-file FILE ..., or in its compose.yaml
# networks: {{ default: {{ name: {NETWORK}, external: true }} }}{"; mount secrets/ca.pem" if tls else ""}
NATS_URL={nats_url_within}
NATS_USER=subscriber
NATS_PASSWORD={secrets["nats-subscriber"]}{ca.replace("secrets/", "/run/secrets/")}

# An API server of your own that must miss nothing: the stream CRYPTO keeps the events for it while it is away. It may
# read and acknowledge them by the durable consumer `consumer`, and nothing else. The prefix is for JetStream's API.
NATS_URL={nats_url}
NATS_USER=consumer
NATS_PASSWORD={secrets["nats-consumer"]}
NATS_API_PREFIX=STORE.API{ca}

# The commands of this repository on this machine (make verify, make audit), and events of your own:
# it may publish on crypto.updates, and read and remove events. MongoDB can be reached after
# docker compose --profile tools up --detach{f"; in the cluster, that is its member {MONGO[0]}" if is_cluster else ""}
NATS_URL={nats_url}
NATS_USER=operator
NATS_PASSWORD={secrets["nats-password"]}{ca}
NATS_INBOX_PREFIX=_INBOX_operator
MONGO_URL='{mongo_url}'
API_URL=http://localhost:{environ.get("HTTP_PORT") or 8080}"""
