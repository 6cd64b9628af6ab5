"""A replica set of one, where mongod was started for a replica set and has none yet."""

from __future__ import annotations

import logging
import time
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

log = logging.getLogger(__name__)

# https://www.mongodb.com/docs/manual/reference/error-codes/
NOT_YET_INITIALIZED, NO_REPLICATION_ENABLED = 94, 76


def initiate(client: MongoClient[dict[str, Any]], host: str) -> None:
    """Make `host` (name:port, as all clients know it) the only member. Raises PyMongoError.

    A server that has a replica set is left as it is, and so is one that was started without `--replSet`.
    """
    try:
        client.admin.command("replSetGetConfig")
    except OperationFailure as error:
        if error.code == NO_REPLICATION_ENABLED:
            log.warning("[MONGO] Not started with --replSet: writes are not retried by the driver")
        elif error.code == NOT_YET_INITIALIZED:
            replication = client.admin.command("getCmdLineOpts")["parsed"]["replication"]
            name = replication.get("replSetName") or replication["replSet"]  # from its file, or its command line
            client.admin.command("replSetInitiate", {"_id": name, "members": [{"_id": 0, "host": host}]})
            log.info("[MONGO] Replica set %s initiated with %s", name, host)
        else:
            raise


def await_primary(client: MongoClient[dict[str, Any]], patience: float) -> None:
    """Return when writes are accepted. Raises TimeoutError after `patience` seconds."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if client.admin.command("hello")["isWritablePrimary"]:
                return
        except PyMongoError as error:
            log.debug("[MONGO] %s", error)
        time.sleep(0.1)
    raise TimeoutError(f"no primary within {patience:.0f} s")
