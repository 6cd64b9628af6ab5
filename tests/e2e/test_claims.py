"""Of many workers that claim an id at once, one gets it; in a cluster, too."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack

import nats.errors
import pytest

from crypto_updates.bus import claims
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.stream import update_stream
from crypto_updates.local import ports
from crypto_updates.local.servers import NatsServer
from tests.support import soon

CLAIMANTS, ROUNDS = 15, 20
DENIED = '["crypto.claims"]', '["$JS.API.STREAM.CREATE.>"]'


@pytest.fixture
def cluster() -> Iterator[list[NatsServer]]:
    routes = [ports.free() for _ in range(3)]
    told = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
    with ExitStack() as closing:
        yield [
            closing.enter_context(
                NatsServer(config=f'cluster {{ name: three, listen: "127.0.0.1:{port}", routes: [{told}] }}')
            )
            for port in routes
        ]


@pytest.fixture
async def connections(cluster: list[NatsServer]) -> AsyncIterator[list[Connection]]:
    """Each claimant's own, to each of the servers; the stream has three copies."""
    async with AsyncExitStack() as closing:
        found = []
        for number in range(CLAIMANTS):
            connection = Connection(cluster[number % 3].url)
            await connection.open(BusSettings.load({}), "test")
            closing.push_async_callback(connection.close)
            connection.js = connection.jetstream()
            found.append(connection)
        await provisioned(found[0])
        yield found


async def provisioned(connection: Connection) -> None:
    """The cluster first has to elect its leader."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await update_stream(connection.jetstream(1), claims.stream_config(3))
        except nats.errors.Error:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


@pytest.mark.timeout(120)
async def test_in_a_cluster_one_of_many_that_claim_at_once_gets_the_id(connections: list[Connection]) -> None:
    for number in range(ROUNDS):
        found = await asyncio.gather(*(claims.claim(connection, f"slot/{number}", 3, 60) for connection in connections))
        assert sum(found) == 1


@pytest.mark.parametrize("denied", DENIED, ids=["to publish", "to make the stream"])
async def test_without_permission_each_worker_gets_the_id_within_the_patience(denied: str) -> None:
    users = f"{{user: worker, password: p, permissions: {{publish: {{deny: {denied}}}}}}}"
    with NatsServer(config=f"authorization {{ users: [{users}] }}") as server:
        connection = Connection(server.url)
        await connection.open(BusSettings.load({"NATS_USER": "worker", "NATS_PASSWORD": "p"}), "test")
        connection.js = connection.jetstream()
        refused = claims.SUBJECT if "claims" in denied else connection.api(f"STREAM.CREATE.{claims.STREAM}")
        # The first time, there is no answer; from then on, the refusal is known.
        for patience, most in ((1, 2), (30, 3)):
            begin = time.monotonic()
            assert await claims.claim(connection, "slot/1", 1, patience)
            assert time.monotonic() - begin < most
            assert await soon(lambda: connection.is_refused(refused))
        await connection.close()
