"""The members of MongoDB's replica set: three in the cluster, one in the stack of compose.yaml."""

import copy
import logging
import re
import time
from collections.abc import Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from crypto_updates.local.replica_set import NO_REPLICATION_ENABLED, has_set, initiate, lacking
from stack.setup.errors import SetupError
from stack.setup.servers import MONGO

log = logging.getLogger(__name__)

Config = dict[str, Any]
Client = MongoClient[dict[str, Any]]

# A member of a higher priority than the primary's takes over.
TAKES_OVER = 2
AGAIN_SECONDS = 0.2
# Those that only the cluster of Compose has.
OTHERS = frozenset(f"{host}:27017" for host in MONGO[1:])


def begin(url: str, hosts: Sequence[str], deadline: float) -> None:
    """Make a replica set of the hosts, if none of them has one yet.

    A host that has lost its data gets it from the others, so all are asked. Raises PyMongoError and TimeoutError.
    """
    for host in hosts:
        with _client(url, host, deadline) as client:
            if has_set(client):
                return
    with _client(url, hosts[0], deadline) as client:
        initiate(client, *hosts)


def refuse_cluster(client: Client) -> None:
    """Raises SetupError when the server is a member of the cluster of Compose, whose stream is not here."""
    try:
        known = _hosts(client.admin.command("replSetGetConfig")["config"])
    except OperationFailure as error:
        if error.code == NO_REPLICATION_ENABLED:
            return
        raise
    if others := sorted(OTHERS.intersection(known)):
        raise SetupError(
            f"MongoDB's replica set has {', '.join(others)} too: it is the cluster's. Start the cluster again, with"
            " both Compose files, or run its `provision --single` first (docs/scaling.md)"
        )


def arrange(client: Client, hosts: Sequence[str], deadline: float) -> None:
    """Add members and remove them until these are the members. Raises TimeoutError."""
    problem: object = "no new primary"
    while time.monotonic() < deadline:
        try:
            config = client.admin.command("replSetGetConfig")["config"]
            if {member["host"] for member in config["members"]} == {*hosts}:
                return
            if changed := following(config, hosts, client.admin.command("hello")["me"]):
                client.admin.command("replSetReconfig", changed)
                log.info("[MONGO] The members are now %s", ", ".join(_hosts(changed)))
        except PyMongoError as error:  # the change before it is not everywhere yet, or the primary has gone
            problem = error
            log.debug("[MONGO] %s", error)
        time.sleep(AGAIN_SECONDS)
    raise TimeoutError(f"the members do not become {', '.join(hosts)}: {problem}")


def following(config: Config, hosts: Sequence[str], primary: str) -> Config | None:
    """The next step on the way to these members, if it is not a time to wait. Pure.

    MongoDB adds or removes one member at a time, and the primary stays. So the first host must be the primary first.
    """
    changed = copy.deepcopy(config)
    changed["version"] += 1
    members, known = changed["members"], _hosts(config)
    missing, surplus = [host for host in hosts if host not in known], [host for host in known if host not in hosts]
    if missing:
        members.append({"_id": max(member["_id"] for member in members) + 1, "host": missing[0]})
    elif primary in surplus:
        first = members[known.index(hosts[0])]
        if first["priority"] == TAKES_OVER:
            return None
        first["priority"] = TAKES_OVER
    else:
        changed["members"] = [{**member, "priority": 1} for member in members if member["host"] != surplus[-1]]
    return changed


def _hosts(config: Config) -> list[str]:
    return [member["host"] for member in config["members"]]


def await_copies(client: Client, deadline: float) -> None:
    """Return when every member has all data, or with a warning at the deadline. Raises PyMongoError."""
    while names := lacking(client):
        if time.monotonic() > deadline:
            log.warning("[MONGO] %s still copies the data, or cannot be reached", ", ".join(names))
            return
        time.sleep(AGAIN_SECONDS)


def _client(url: str, host: str, deadline: float) -> Client:
    wait = max(1, int((deadline - time.monotonic()) * 1000))
    one = re.sub(r"(://(?:[^@/]*@)?)[^/]+", rf"\g<1>{host}", url)
    return MongoClient(one, directConnection=True, serverSelectionTimeoutMS=wait)
