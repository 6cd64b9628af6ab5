"""`crypto-updates credentials`: makes the credentials that are missing, and gives each service its own files."""

import logging
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path

from crypto_updates.service import lifecycle
from stack.setup import passwords, servers
from stack.setup.config import CredentialSettings
from stack.setup.errors import SetupError
from stack.setup.passwords import CERTIFICATES, MONGO_USERS, NATS_USERS, PASSWORDS
from stack.setup.vault import Vault, put

log = logging.getLogger(__name__)

# The group of the user that mongod runs as in its image. Nobody else reads mongod's files.
MONGOD_GID = 999


def run(parser: ArgumentParser, argv: list[str]) -> int:
    parser.parse_args(argv)
    return lifecycle.main(CredentialSettings, make, lasting=False)


async def make(settings: CredentialSettings) -> int:
    try:
        write(settings)
    except SetupError as error:
        log.error("[CREDENTIALS] %s", error)
        return 1
    log.info("[CREDENTIALS] Every service has its own")
    return 0


def write(settings: CredentialSettings) -> None:
    """Raises ConfigError for the user's own files that cannot be used, SetupError for ours."""
    folder, tls = settings.credentials_dir, settings.tls == "on"
    own = _own(settings.secrets_dir, tls=tls)
    vault = Vault(folder / "home")
    nats = {user: vault.secret(f"nats-{user}", own.get(f"nats-{user}")) for user in NATS_USERS}
    mongo = {user: vault.secret(f"mongo-{user}", own.get(f"mongo-{user}")) for user in MONGO_USERS}
    key = vault.secret("mongo-key")

    def url(user: str, password: str) -> str:
        return servers.mongo_url(user, password, tls=tls)

    hashes = {user: vault.bcrypted(f"nats-{user}", password) for user, password in nats.items()}
    put(folder / "nats" / "users.conf", servers.users(hashes, tls=tls))
    put(folder / "mongo" / "key", key, MONGOD_GID)
    put(folder / "mongo" / "mongod.conf", servers.mongod(tls=tls), MONGOD_GID)
    for name in ("provision", "worker", "api_stub"):
        put(folder / name / "nats-password", nats[name])
    put(folder / "provision" / "mongo-url", url(servers.SYSTEM, key))
    for user, password in mongo.items():
        put(folder / "provision" / f"mongo-{user}", password)
    put(folder / "api_stub" / "mongo-url", url("writer", mongo["writer"]))
    put(folder / "api_stub" / "mongo-reader-url", url("reader", mongo["reader"]))
    put(folder / "stack" / "nats-password", nats["operator"])
    put(folder / "stack" / "nats-subscriber", nats["subscriber"])
    put(folder / "stack" / "mongo-url", url("operator", mongo["operator"]))
    if settings.coingecko_api_key:
        put(folder / "worker" / "coingecko-api-key", settings.coingecko_api_key.get_secret_value())
    if tls:
        _certify(folder, own)


def _own(folder: Path, *, tls: bool) -> dict[str, str]:
    """The user's own passwords, and with TLS the certificates, by file name. Raises ConfigError."""
    given = passwords.names_in(folder)
    passwords.warn_of_strangers(folder, given)
    wanted = [name for name in PASSWORDS if name in given]
    return passwords.read(folder, [*wanted, *(CERTIFICATES if tls else ())])


def _certify(folder: Path, pem: Mapping[str, str]) -> None:
    """Give each service its part of the user's certificates. Raises SetupError."""
    for name in ("provision", "worker", "api_stub", "stack"):
        put(folder / name / "ca.pem", pem["ca.pem"])
    put(folder / "mongo" / "ca.pem", pem["ca.pem"], MONGOD_GID)
    put(folder / "mongo" / "server.pem", pem["mongo.pem"], MONGOD_GID)
    put(folder / "nats" / "server.pem", pem["nats.pem"])
