"""Servers of one kind that belong together: a cluster of nats-servers, or the members of a replica set."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crypto_updates.local import ports
from crypto_updates.local.servers import HERE, Mongod, NatsServer, Place, Server

SIZE = 3
# A secondary that is stopped stays for 15 s, so that clients can turn away from it; here they turn fast.
_QUIESCE_MS = 100
_ELECTION_SECONDS = 60.0


class _Member(Mongod):
    """It is ready when it answers: the replica set is made when all members do."""

    def _args(self, port: int) -> Sequence[str]:
        return [*super()._args(port), "--setParameter", f"shutdownTimeoutMillisForSignaledShutdown={_QUIESCE_MS}"]

    def _answers(self, port: int) -> bool:
        from crypto_updates.local import replica_set  # noqa: PLC0415 - as in Mongod

        return self._listens(port) and replica_set.answers(f"{self.place.host}:{port}", self.pid)


def nats_servers(
    places: Sequence[Place] = (HERE,) * SIZE, folders: Sequence[Path | None] = (None,) * SIZE, config: str = ""
) -> list[NatsServer]:
    """One at each place, with its data in its folder. Each knows the routes to all; enter all of them."""
    name, routes = f"cluster-{secrets.token_hex(4)}", [f"{place.host}:{ports.free()}" for place in places]
    urls = ", ".join(f"nats-route://{route}" for route in routes)
    return [
        NatsServer(
            folder, place=place, config=f'cluster {{ name: {name}, listen: "{route}", routes: [{urls}] }}\n{config}'
        )
        for place, route, folder in zip(places, routes, folders, strict=True)
    ]


def mongods(places: Sequence[Place] = (HERE,) * SIZE) -> list[Mongod]:
    """One at each place; enter all of them, and then `unite` them."""
    return [_Member(place=place) for place in places]


def unite(members: Sequence[Mongod]) -> None:
    """Make a replica set of members that run, and return when it takes writes and each has the data.

    Raises PyMongoError and TimeoutError.
    """
    from pymongo import MongoClient  # noqa: PLC0415 - as in Mongod

    from crypto_updates.local import replica_set  # noqa: PLC0415 - as in Mongod

    with MongoClient[dict[str, Any]](members[0].url, directConnection=True) as client:
        replica_set.initiate(client, *(member.address for member in members))
    with MongoClient[dict[str, Any]](url(members)) as client:
        replica_set.await_primary(client, _ELECTION_SECONDS)
        replica_set.await_copies(client, _ELECTION_SECONDS)


def url(servers: Sequence[Server]) -> str:
    """What a client is given to connect to, of one server as well as of several."""
    if len(servers) == 1:
        return servers[0].url
    if isinstance(servers[0], NatsServer):
        return ",".join(server.url for server in servers)
    return f"{servers[0].scheme}://{','.join(server.address for server in servers)}/?replicaSet=rs0"
