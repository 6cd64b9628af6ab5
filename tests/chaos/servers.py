"""The servers of a stage: one of each kind, or clusters of them whose members can be parted from each other."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from crypto_updates.local import cluster
from crypto_updates.local.servers import Mongod, NatsServer, Server
from tests.chaos.member import Member
from tests.chaos.network import Network


class Servers:
    """`members`: how many of each kind, 1 or 3. Their logs are copied to `folder` in the end."""

    def __init__(self, folder: Path, members: int) -> None:
        self._folder, self._count = folder, members
        self.nats: Sequence[NatsServer] = [NatsServer()]
        self.mongods: Sequence[Mongod] = [Mongod()]
        self._network = Network(2 * members)
        self._closing = ExitStack()

    @property
    def environ(self) -> dict[str, str]:
        """What a service needs to find them."""
        return {
            "NATS_URL": cluster.url(self.nats),
            "MONGO_URL": cluster.url(self.mongods),
            "STREAM_REPLICAS": str(self._count),
        }

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            if self._count > 1:
                places = closing.enter_context(self._network).places
                self.nats = cluster.nats_servers(places[: self._count])
                self.mongods = cluster.mongods(places[self._count :])
            for number, server in enumerate((*self.nats, *self.mongods)):
                closing.enter_context(server)
                closing.callback(self._keep_log, number, server)
            if self._count > 1:
                cluster.unite(self.mongods)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def members(self) -> list[Member]:
        """Named by their kind, and by their number if there are several."""
        each: list[tuple[str, Sequence[Server]]] = [("nats", self.nats), ("mongod", self.mongods)]
        return [
            Member(f"{kind}{number}" if len(servers) > 1 else kind, kind, server)
            for kind, servers in each
            for number, server in enumerate(servers, 1)
        ]

    def cut(self, member: Member) -> None:
        """Part it from the other servers. The services still reach all of them."""
        self._network.cut(self._host(member))

    def join(self, member: Member) -> None:
        """Bring it together with the others again."""
        self._network.heal(self._host(member))

    def heal(self) -> None:
        """Bring together all that was parted."""
        self._network.heal()

    def _host(self, member: Member) -> int:
        return [*map(id, (*self.nats, *self.mongods))].index(id(member.process))

    def _keep_log(self, number: int, server: Server) -> None:
        shutil.copy(server.log, self._folder / (f"{server.name}{number}.log" if self._count > 1 else server.log.name))
