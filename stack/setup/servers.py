"""The text of the servers' configuration files, and the URLs of MongoDB's clients. Pure."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

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
# The servers of compose.cluster.yaml. The stack of compose.yaml has the first of each.
NATS = ("nats", "nats2", "nats3")
MONGO = ("mongo", "mongo2", "mongo3")
ROUTE_USER, ROUTE_PORT = "route", 6222


def users(
    hashes: Mapping[str, str], trigger: str | None, *, anonymous: bool, tls: bool, route: str | None = None
) -> str:
    """The part of nats-server's configuration that differs from machine to machine.

    `route`: the password by which the servers of a cluster know each other.
    """
    subject = trigger or TRIGGER
    variables: dict[str, object] = {f"{user.upper()}_HASH": bcrypted for user, bcrypted in hashes.items()}
    variables |= {"TRIGGER_SUBJECT": subject, "TRIGGER_SUBJECT_IN_A_QUEUE": f"{subject} *"}
    # nats-server logs in no_auth_user with the password from here, so it cannot be a hash. Nobody needs to know it.
    variables |= {"ANONYMOUS_USERS": [{"user": ANONYMOUS, "password": ANONYMOUS}] if anonymous else []}
    variables |= {"no_auth_user": ANONYMOUS} if anonymous else {}
    variables |= {"tls": {"cert_file": CERTIFICATE, "key_file": CERTIFICATE}} if tls else {}
    variables |= {"cluster": _cluster(route, tls=tls)} if route else {}
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in variables.items())


def _cluster(password: str, *, tls: bool) -> dict[str, object]:
    login = f"{ROUTE_USER}:{quote(password, safe='')}"
    # Each server shows its certificate to the others, and asks for theirs.
    certificates = {"tls": {"cert_file": CERTIFICATE, "key_file": CERTIFICATE, "ca_file": CA}} if tls else {}
    return {
        "name": "crypto-updates",
        "listen": f"0.0.0.0:{ROUTE_PORT}",
        "authorization": {"user": ROUTE_USER, "password": password},
        "routes": [f"nats-route://{login}@{server}:{ROUTE_PORT}" for server in NATS],
        # Clients are told all servers in NATS_URL; the addresses within Docker would mislead those outside.
        "no_advertise": True,
        **certificates,
    }


def mongod(*, tls: bool) -> str:
    """The configuration file of mongod; JSON is YAML, too."""
    net: dict[str, Any] = {"bindIpAll": True}
    if tls:
        certificate = {"certificateKeyFile": CERTIFICATE, "CAFile": CA, "allowConnectionsWithoutCertificates": True}
        net["tls"] = {"mode": "requireTLS"} | certificate
    settings = {
        "net": net,
        # Also alone: a standalone server can lose acknowledged writes, and the driver cannot retry them.
        "replication": {"replSetName": "rs0"},
        # `$where` and its like let every reader run code on the server.
        "security": {"authorization": "enabled", "keyFile": KEY, "javascriptEnabled": False},
        "storage": {"wiredTiger": {"engineConfig": {"cacheSizeGB": 0.5}}},
        "systemLog": {"quiet": True},
        # MongoDB's own record for its support. Each second, as by default, it is a third of what mongod does at rest.
        "setParameter": {"diagnosticDataCollectionPeriodMillis": 10_000},
    }
    return json.dumps(settings, indent=2) + "\n"


def mongo_url(user: str, password: str, *, tls: bool, cluster: bool = False) -> str:
    source = "local" if user == SYSTEM else "admin"
    options = f"authSource={source}" + (f"&tls=true&tlsCAFile={CA}" if tls else "")
    hosts = ",".join(f"{host}:27017" for host in (MONGO if cluster else MONGO[:1]))
    return f"mongodb://{user}:{quote_plus(password)}@{hosts}/?{options}"
