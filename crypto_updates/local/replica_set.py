"""A replica set, of one member too, as in production: the driver's retryable writes need one."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

log = logging.getLogger(__name__)

# https://www.mongodb.com/docs/manual/reference/error-codes/
NOT_YET_INITIALIZED, NO_REPLICATION_ENABLED, ALREADY_INITIALIZED = 94, 76, 23
# The states of a member that has all data: https://www.mongodb.com/docs/manual/reference/replica-states/
_COMPLETE = {"PRIMARY", "SECONDARY"}
_REPLY_MS = 1000
_LOADING_SECONDS = 30.0


def initiate(client: MongoClient[dict[str, Any]], *hosts: str) -> None:
    """Make these the members (name:port, as all clients know them), the client's server among them.

    Raises PyMongoError and TimeoutError. A server that has a replica set already, or that was started without
    `--replSet`, stays as it is.
    """
    try:
        if not has_set(client):
            _initiate(client, hosts)
    except OperationFailure as error:
        if error.code != NO_REPLICATION_ENABLED:
            raise


def has_set(client: MongoClient[dict[str, Any]]) -> bool:
    """Raises PyMongoError."""
    try:
        client.admin.command("replSetGetConfig")
    except OperationFailure as error:
        if error.code == NOT_YET_INITIALIZED:
            return False
        raise
    return True


def _initiate(client: MongoClient[dict[str, Any]], hosts: Sequence[str]) -> None:
    replication = client.admin.command("getCmdLineOpts")["parsed"]["replication"]
    name = replication.get("replSetName") or replication["replSet"]  # from its file, or its command line
    members = [{"_id": number, "host": host} for number, host in enumerate(hosts)]
    try:
        client.admin.command("replSetInitiate", {"_id": name, "members": members})
    except OperationFailure as error:
        if error.code != ALREADY_INITIALIZED:
            raise
        # It has just started, and says until it has loaded its replica set that it has none.
        _await(client, _LOADING_SECONDS, has_set, "replica set not loaded")
    else:
        log.info("[MONGO] Replica set %s initiated with %s", name, ", ".join(hosts))


def await_primary(client: MongoClient[dict[str, Any]], patience: float) -> None:
    """Return when writes are accepted. Raises TimeoutError after `patience` seconds."""
    _await(client, patience, _is_primary, "no primary")


def await_copies(client: MongoClient[dict[str, Any]], patience: float) -> None:
    """Return when each member has the data, also what is written now. Raises TimeoutError after `patience` seconds.

    One that still copies it cannot replace the primary. Nor is it enough to be a secondary: one that has just asked
    the primary for its writes waits 65 seconds for the answer, also when the primary is cut off meanwhile
    (`oplogInitialFindMaxSeconds`, and 5 for the network).
    """
    _await(client, patience, _follows, "not every member had the data")


def _follows(client: MongoClient[dict[str, Any]]) -> bool:
    members = client.admin.command("replSetGetConfig")["config"]["members"]
    everybody = {"w": len(members), "wtimeout": _REPLY_MS}
    answer = client.admin.command("appendOplogNote", data={}, writeConcern=everybody)
    return "writeConcernError" not in answer and not lacking(client)


def lacking(client: MongoClient[dict[str, Any]]) -> list[str]:
    """The members that have not all data, or that the client's server cannot reach. Raises PyMongoError."""
    members = client.admin.command("replSetGetStatus")["members"]
    return [member["name"] for member in members if member["stateStr"] not in _COMPLETE]


def _await(
    client: MongoClient[dict[str, Any]], patience: float, holds: Callable[[MongoClient[dict[str, Any]]], bool], no: str
) -> None:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if holds(client):
                return
        except PyMongoError as error:
            log.debug("[MONGO] %s", error)
        time.sleep(0.1)
    raise TimeoutError(f"{no} within {patience:.0f} s")


def is_ready(host: str, pid: int) -> bool:
    """True once the process `pid` serves this address as the primary. Each call takes a step towards that."""
    with _client(host) as client:
        try:
            if not _serves(client, pid):
                return False
            initiate(client, host)
            _move(client, host)
            return _is_primary(client)
        except (PyMongoError, TimeoutError):
            return False


def answers(host: str, pid: int) -> bool:
    """True once the process `pid` serves this address, whatever it is in its replica set."""
    with _client(host) as client:
        try:
            return _serves(client, pid)
        except PyMongoError:
            return False


def _client(host: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(host, directConnection=True, serverSelectionTimeoutMS=_REPLY_MS, socketTimeoutMS=_REPLY_MS)


def _serves(client: MongoClient[dict[str, Any]], pid: int) -> bool:
    return bool(client.admin.command("serverStatus")["pid"] == pid)


def _is_primary(client: MongoClient[dict[str, Any]]) -> bool:
    return bool(client.admin.command("hello")["isWritablePrimary"])


def _move(client: MongoClient[dict[str, Any]], host: str) -> None:
    """Tell kept data the server's new port, because it knows the one of an earlier run."""
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != host:
        config["members"][0]["host"] = host
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
