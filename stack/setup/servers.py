"""The text of the servers' configuration files, and the URLs of MongoDB's clients. Pure."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus

# Where a service finds its secrets.
SECRETS = "/run/secrets"
CA, CERTIFICATE = f"{SECRETS}/ca.pem", f"{SECRETS}/server.pem"
# mongod takes a key file only from its own user, so the container makes this copy.
KEY = "/tmp/key"  # noqa: S108 - the container's own memory
# The members of a replica set log in to each other as this user. It has all rights; its password is the key.
# https://www.mongodb.com/docs/manual/core/security-internal-authentication/
SYSTEM = "__system"


def users(hashes: Mapping[str, str], *, tls: bool) -> str:
    """The part of nats-server's configuration that differs from machine to machine."""
    lines = [f"{user.upper()}_HASH: {json.dumps(bcrypted)}" for user, bcrypted in hashes.items()]
    if tls:
        lines.append(f"tls {{ cert_file: {json.dumps(CERTIFICATE)}, key_file: {json.dumps(CERTIFICATE)} }}")
    return "\n".join([*lines, ""])


def mongod(*, tls: bool) -> str:
    """The configuration file of mongod; JSON is YAML, too."""
    net: dict[str, Any] = {"bindIpAll": True}
    if tls:
        certificate = {"certificateKeyFile": CERTIFICATE, "CAFile": CA, "allowConnectionsWithoutCertificates": True}
        net["tls"] = {"mode": "requireTLS"} | certificate
    settings = {
        "net": net,
        # A replica set of one: a standalone server can lose acknowledged writes, and the driver cannot retry them.
        "replication": {"replSetName": "rs0"},
        # `$where` and its like let every reader run code on the server.
        "security": {"authorization": "enabled", "keyFile": KEY, "javascriptEnabled": False},
        "storage": {"wiredTiger": {"engineConfig": {"cacheSizeGB": 0.5}}},
        "systemLog": {"quiet": True},
    }
    return json.dumps(settings, indent=2) + "\n"


def mongo_url(user: str, password: str, *, tls: bool) -> str:
    source = "local" if user == SYSTEM else "admin"
    options = f"authSource={source}" + (f"&tls=true&tlsCAFile={CA}" if tls else "")
    return f"mongodb://{user}:{quote_plus(password)}@mongo:27017/?{options}"
