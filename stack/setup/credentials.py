"""`crypto-updates credentials`: makes the credentials that are missing, and gives each service its own files."""

import logging
import os
from argparse import ArgumentParser
from functools import partial
from pathlib import Path

from crypto_updates.service import lifecycle
from stack.setup import passwords, servers
from stack.setup.config import CredentialSettings
from stack.setup.errors import SetupError
from stack.setup.passwords import CERTIFICATES, MONGO_USERS, NATS_USERS, PASSWORDS, ROUTE
from stack.setup.vault import bcrypted, put, secret

log = logging.getLogger(__name__)

# The group of the user that mongod runs as in its image, and who reads its files in Compose.
MONGOD_GID = 999
# Who has a peer's certificate to check. The NATS servers of a cluster check each other's.
TRUSTING = ("provision", "worker", "api_stub", "stack", "mongo", "nats")


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.add_argument("--cluster", action="store_true", help="for the servers of compose.cluster.yaml, three of each")
    work = partial(make, cluster=parser.parse_args(argv).cluster)
    return lifecycle.main(CredentialSettings, work, lasting=False)


async def make(settings: CredentialSettings, *, cluster: bool) -> int:
    try:
        write(settings, cluster=cluster)
    except SetupError as error:
        log.error("[CREDENTIALS] %s", error)
        return 1
    log.info("[CREDENTIALS] Every service has its own")
    return 0


def write(settings: CredentialSettings, *, cluster: bool = False) -> None:
    """Raises ConfigError for the user's own files that cannot be used, SetupError for ours."""
    folder, tls = settings.credentials_dir, settings.tls == "on"
    own = _own(settings.secrets_dir, tls=tls)
    home = folder / "home"
    nats = {user: secret(home / f"nats-{user}", own.get(f"nats-{user}")) for user in NATS_USERS}
    mongo = {user: secret(home / f"mongo-{user}", own.get(f"mongo-{user}")) for user in MONGO_USERS}
    key = secret(home / "mongo-key")
    route = secret(home / ROUTE, own.get(ROUTE))
    url = partial(servers.mongo_url, tls=tls, cluster=cluster)
    hashes = {user: bcrypted(home / f"nats-{user}.bcrypt", password) for user, password in nats.items()}
    files = {
        "nats/users.conf": servers.users(
            hashes,
            settings.trigger_subject,
            anonymous=settings.nats_anonymous == "on",
            tls=tls,
            route=route if cluster else None,
        ),
        "mongo/key": key,
        "mongo/mongod.conf": servers.mongod(tls=tls),
        **{f"{name}/nats-password": nats[name] for name in ("provision", "worker", "api_stub")},
        "provision/mongo-url": url(servers.SYSTEM, key),
        **{f"provision/mongo-{user}": password for user, password in mongo.items()},
        "api_stub/mongo-url": url("writer", mongo["writer"]),
        "api_stub/mongo-reader-url": url("reader", mongo["reader"]),
        "stack/nats-password": nats["operator"],
        "stack/nats-subscriber": nats["subscriber"],
        "stack/nats-consumer": nats["consumer"],
        "stack/mongo-url": url("operator", mongo["operator"]),
    }
    if settings.coingecko_api_key:
        files["worker/coingecko-api-key"] = settings.coingecko_api_key.get_secret_value()
    if tls:
        files |= {f"{name}/ca.pem": own["ca.pem"] for name in TRUSTING}
        files |= {"mongo/server.pem": own["mongo.pem"], "nats/server.pem": own["nats.pem"]}
    for name, text in files.items():
        put(folder / name, text, _mongod_group() if name.startswith("mongo/") else -1)


def _mongod_group() -> int:
    """Compose gives this user the group. Outside of it nobody starts a mongod with these files."""
    return MONGOD_GID if os.geteuid() == 0 or MONGOD_GID in os.getgroups() else -1


def _own(folder: Path, *, tls: bool) -> dict[str, str]:
    """The user's own passwords, and with TLS the certificates, by file name. Raises ConfigError."""
    given = passwords.names_in(folder)
    passwords.warn_of_strangers(folder, given)
    wanted = [name for name in PASSWORDS if name in given]
    return passwords.read(folder, [*wanted, *(CERTIFICATES if tls else ())])
