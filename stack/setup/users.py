"""MongoDB's users, each with its own role, which has only the rights that the user needs."""

import logging
from collections.abc import Mapping
from typing import Any

from pymongo import MongoClient

log = logging.getLogger(__name__)

# Actions on each collection: https://www.mongodb.com/docs/manual/reference/privilege-actions/
ROLES: dict[str, dict[str, list[str]]] = {
    # An event whose id is taken is compared with the one that has it.
    "writer": {"events": ["find", "insert"], "dead_letters": ["insert"], "feeds": ["insert"]},
    # Both look whether the indexes are there.
    "reader": {
        "events": ["find", "changeStream", "listIndexes"],
        "dead_letters": ["find", "listIndexes"],
        "feeds": ["find"],
    },
    # `verify` removes its own event again, `dead-letters` what was replayed.
    "operator": {
        "events": ["find", "insert", "remove", "listIndexes"],
        "dead_letters": ["find", "insert", "remove", "listIndexes"],
        "feeds": ["find"],
    },
}


def provision(client: MongoClient[dict[str, Any]], database: str, passwords: Mapping[str, str]) -> None:
    """Make these users, or give existing ones these passwords and this version's rights. Raises PyMongoError."""
    if not passwords:  # an operator of Kubernetes makes them; then this user may not even ask for them
        return
    admin = client.admin
    roles = {role["role"] for role in admin.command("rolesInfo", 1)["roles"]}
    users = {user["user"] for user in admin.command("usersInfo", 1)["users"]}
    for name, password in passwords.items():
        privileges = [
            {"resource": {"db": database, "collection": collection}, "actions": actions}
            for collection, actions in ROLES[name].items()
        ]
        admin.command("updateRole" if name in roles else "createRole", name, privileges=privileges, roles=[])
        admin.command("updateUser" if name in users else "createUser", name, pwd=password, roles=[name])
    log.info("[MONGO] Users %s are ready", ", ".join(passwords))
