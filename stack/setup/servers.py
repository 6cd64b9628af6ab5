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
ANONYMOUS = "anonymous"
# What the worker may publish on, and a subscriber hear, when TRIGGER_SUBJECT is not set.
TRIGGER = "crypto.update"


def users(hashes: Mapping[str, str], trigger: str | None, *, anonymous: bool, tls: bool) -> str:
    """The part of nats-server's configuration that differs from machine to machine."""
    subject = trigger or TRIGGER
    variables: dict[str, object] = {f"{user.upper()}_HASH": bcrypted for user, bcrypted in hashes.items()}
    variables |= {"TRIGGER_SUBJECT": subject, "TRIGGER_SUBJECT_IN_A_QUEUE": f"{subject} *"}
    # nats-server logs in no_auth_user with the password from here, so it cannot be a hash. Nobody needs to know it.
    variables |= {"ANONYMOUS_USERS": [{"user": ANONYMOUS, "password": ANONYMOUS}] if anonymous else []}
    variables |= {"no_auth_user": ANONYMOUS} if anonymous else {}
    variables |= {"tls": {"cert_file": CERTIFICATE, "key_file": CERTIFICATE}} if tls else {}
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in variables.items())


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
