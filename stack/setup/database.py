"""What provision makes in MongoDB: the replica set, the indexes for the API's queries, and the users."""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from api_stub import retention
from api_stub.errors import StoreUnavailableError
from api_stub.indexes import INDEXES
from api_stub.mongo import direct
from api_stub.reader import NO_REPLICA_SET, Reader
from crypto_updates.local.replica_set import await_primary, initiate
from crypto_updates.service.config import redacted
from stack.setup import members, passwords, users
from stack.setup.config import ProvisionSettings
from stack.setup.errors import SetupError

log = logging.getLogger(__name__)


def provision(settings: ProvisionSettings, patience: float, hosts: Sequence[str] = ()) -> None:
    """Wait `patience` seconds for the server at most. `hosts`: what the members of the replica set shall be.

    Raises ConfigError and SetupError.
    """
    url, database, given = settings.mongo_url, settings.mongo_db, _passwords(settings.secrets_dir)
    deadline = time.monotonic() + patience
    try:
        if hosts:
            members.begin(url, settings.mongo_hosts, deadline)
        with MongoClient[dict[str, Any]](
            url, serverSelectionTimeoutMS=int(patience * 1000), directConnection=direct(url)
        ) as client:
            if direct(url):
                initiate(client, *settings.mongo_hosts[:1])
                members.refuse_cluster(client)
            await_primary(client, deadline - time.monotonic())
            if hosts:
                members.arrange(client, hosts, deadline)
            if "setName" not in (hello := client.admin.command("hello")) and "msg" not in hello:
                log.warning("[MONGO] %s", NO_REPLICA_SET)
            for collection, keys in INDEXES:
                client[database][collection].create_index(keys)
            users.provision(client, database, given)
            if hosts:
                members.await_copies(client, deadline)
    except (PyMongoError, TimeoutError) as error:
        raise SetupError(f"MongoDB at {redacted(url)}: {error}") from error
    log.info("[MONGO] Database %s is ready", database)


async def retain(settings: ProvisionSettings) -> None:
    """Have events go, or stay, as MAX_EVENT_AGE says. Before the first one goes, note the feed's. Raises SetupError."""
    try:
        async with Reader(settings.mongo_url, settings.mongo_db) as client:
            await retention.note(client.database, settings.feed, lambda: client.first(settings, datetime.now(UTC)))
            await retention.apply(client.database, settings.max_event_age)
    except (PyMongoError, StoreUnavailableError) as error:
        raise SetupError(f"MAX_EVENT_AGE: MongoDB at {redacted(settings.mongo_url)}: {error}") from error


def _passwords(folder: Path) -> dict[str, str]:
    """Password by user. A user without one is not made: a MongoDB without access control needs none."""
    names = {f"mongo-{user}": user for user in passwords.MONGO_USERS}
    found = passwords.read(folder, sorted(names.keys() & passwords.names_in(folder)))
    return {names[name]: password for name, password in found.items()}
