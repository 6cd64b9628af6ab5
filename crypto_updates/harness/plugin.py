"""The pytest plugin: real servers and services for end-to-end tests of programs that publish or read crypto.updates.

    def test_it_stores_each_event_once(crypto):
        crypto.app("node", "server.js", ready="/health")
        crypto.publish(copies=2)
        crypto.reactions.wait(1)
        never(lambda: len(crypto.reactions) > 1)

`crypto` is fresh for each test, but for the mongod, which is emptied. The other servers start when the first test asks
for them, and run until the end of the session.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

from crypto_updates.local import programs
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer

if TYPE_CHECKING:
    from crypto_updates.harness.crypto import Crypto


class Service(Protocol):
    """Starts `python -m module arguments` with this process's variables and these."""

    def __call__(self, module: str, *arguments: str, **environ: str) -> Process: ...


@pytest.fixture(scope="session")
def nats_server() -> Iterator[NatsServer]:
    """A nats-server with JetStream."""
    with NatsServer() as server:
        yield server


@pytest.fixture(scope="session")
def mongod() -> Iterator[Mongod]:
    """A mongod, as the primary of a replica set of one."""
    with Mongod() as server:
        yield server


@pytest.fixture(scope="session")
def nats_url(nats_server: NatsServer) -> str:
    """NATS_URL of the session's nats-server."""
    return nats_server.url


@pytest.fixture(scope="session")
def mongo_url(mongod: Mongod) -> str:
    """MONGO_URL of the session's mongod."""
    return mongod.url


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Starts services in the test's own folder, where no `.env` is, and stops them when the test ends."""
    with ExitStack() as closing:

        def start(module: str, *arguments: str, **environ: str) -> Process:
            process = programs.start(module, *arguments, environ=os.environ | environ, cwd=tmp_path)
            # Last in, first out: stop the service, then print its output, which pytest shows if the test failed.
            closing.callback(lambda: print(process, *process.lines, sep="\n"))
            closing.callback(process.stop)
            return process

        yield start


@pytest.fixture
def crypto(mongod: Mongod, tmp_path: Path) -> Iterator["Crypto"]:
    """All that an API server needs to be tried, fresh for the test: see crypto_updates.harness.crypto.Crypto."""
    # A session that does not use the fixture does not pay for its imports.
    from crypto_updates.harness.crypto import Crypto  # noqa: PLC0415 - see above

    with Crypto(mongod, tmp_path) as crypto:
        yield crypto
    for app in crypto.apps:
        print(app, *app.lines, sep="\n")
