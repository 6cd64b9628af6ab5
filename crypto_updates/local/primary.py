"""A mongod of our own as a replica set of one, as in production: retryable writes need a replica set."""

from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.local import replica_set

_PATIENCE_MS = 1000


def is_primary(port: int, pid: int) -> bool:
    """True once the process `pid` serves this port as its replica set's primary; makes it so on the way there."""
    with MongoClient[dict[str, Any]](
        "127.0.0.1",
        port,
        directConnection=True,
        serverSelectionTimeoutMS=_PATIENCE_MS,
        socketTimeoutMS=_PATIENCE_MS,
    ) as client:
        try:
            if client.admin.command("serverStatus")["pid"] != pid:
                return False
            replica_set.initiate(client, f"127.0.0.1:{port}")
            _move(client, f"127.0.0.1:{port}")
            return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False


def _move(client: MongoClient[dict[str, Any]], host: str) -> None:
    """Kept data knows the server by the port of an earlier run: tell it the new one."""
    config = client.admin.command("replSetGetConfig")["config"]
    if config["members"][0]["host"] != host:
        config["members"][0]["host"] = host
        config["version"] += 1
        client.admin.command("replSetReconfig", config, force=True)
