"""`crypto-updates credentials`: makes what is missing of the credentials, and gives each service its own files."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from crypto_updates.service import lifecycle
from stack.setup import servers
from stack.setup.config import CredentialSettings
from stack.setup.errors import CredentialError
from stack.setup.vault import Vault, put

log = logging.getLogger(__name__)

NATS = ("provision", "operator", "worker", "api_stub", "subscriber")
MONGO = ("writer", "reader", "operator")
# The numeric group of the user that mongod runs as in its image, and which alone reads its files.
MONGOD = 999


def run(argv: list[str]) -> int:
    argparse.ArgumentParser(prog="crypto-updates credentials", description=__doc__).parse_args(argv)
    return lifecycle.main(CredentialSettings, make, lasting=False)


async def make(settings: CredentialSettings) -> int:
    try:
        write(settings)
    except CredentialError as error:
        log.error("[CREDENTIALS] %s", error)
        return 1
    log.info("[CREDENTIALS] Every service has its own")
    return 0


def write(settings: CredentialSettings) -> None:
    """Raises CredentialError."""
    folder, tls = settings.credentials_dir, settings.tls == "on"
    vault = Vault(folder / "home")
    nats = {user: vault.secret(f"nats-{user}", settings.own(f"nats-{user}")) for user in NATS}
    mongo = {user: vault.secret(f"mongo-{user}", settings.own(f"mongo-{user}")) for user in MONGO}
    key = vault.secret("mongo-key")

    def url(user: str, password: str) -> str:
        return servers.mongo_url(user, password, tls=tls)

    hashes = {user: vault.bcrypted(f"nats-{user}", password) for user, password in nats.items()}
    put(folder / "nats" / "users.conf", servers.users(hashes, tls=tls))
    put(folder / "mongo" / "key", key, MONGOD)
    put(folder / "mongo" / "mongod.conf", servers.mongod(tls=tls), MONGOD)
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
        certify(folder, settings.tls_dir)


def certify(folder: Path, given: Path) -> None:
    """Give each its part of the user's certificates. Raises CredentialError."""
    pem = {name: _pem(given / f"{name}.pem") for name in ("ca", "nats", "mongo")}
    for name in ("provision", "worker", "api_stub", "stack"):
        put(folder / name / "ca.pem", pem["ca"])
    put(folder / "mongo" / "ca.pem", pem["ca"], MONGOD)
    put(folder / "mongo" / "server.pem", pem["mongo"], MONGOD)
    put(folder / "nats" / "server.pem", pem["nats"])


def _pem(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError) as error:
        raise CredentialError(
            f"TLS=on, and {path}: {error}; accepted: a PEM file, for a server with its key"
        ) from error
