"""From the single stack to the cluster, there through a rolling restart, and back, while events are published.
Longer than the gate allows:

python -m pytest -s tests/compose/journey.py
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterator

import pytest
import trustme

from stack.setup.servers import MONGO, NATS
from tests.compose.project import NAME, Project, docker, must
from tests.compose.test_cluster import CLUSTER, LASTING, OURS, SINGLE
from tests.compose.traffic import flows, publish, stored
from tests.support import soon

log = logging.getLogger(__name__)

pytestmark = pytest.mark.timeout(1200)

# One of each kind at a time.
ROUNDS = (("nats", "mongo", "worker", "api_stub"), ("nats2", "mongo2", "worker2", "api_stub2"), ("nats3", "mongo3"))
LEAVE = ("run", "--rm", "--no-TTY", "provision", "stack", "provision", "--single", "/data")


@pytest.fixture(params=["", "TLS=on\n"], ids=["clear", "tls"])
def tls(request: pytest.FixtureRequest) -> str:
    """What `.env` says of it."""
    return str(request.param)


@pytest.fixture
def project(tls: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("compose"), CLUSTER + tls)
    ca = trustme.CA()
    (project.folder / "secrets" / "ca.pem").write_bytes(ca.cert_pem.bytes())
    for name, hosts in (("nats", NATS), ("mongo", MONGO)):
        pem = ca.issue_cert(*hosts, "localhost", "127.0.0.1").private_key_and_cert_chain_pem
        (project.folder / "secrets" / f"{name}.pem").write_bytes(pem.bytes())
    project.down()
    try:
        project.dotenv(SINGLE + tls)
        yield project
    finally:
        project.dotenv(CLUSTER + tls)
        project.down()


async def step(project: Project, name: str, *args: str) -> str:
    begin = time.monotonic()
    told = must(await asyncio.to_thread(project.compose, *args, timeout=400))
    log.info("%s: %.0f s", name, time.monotonic() - begin)
    return told


def megabytes() -> float:
    """The memory of all containers of the project."""
    told = must(docker("stats", "--no-stream", "--format", "{{json .}}"))
    rows = [row for row in map(json.loads, told.splitlines()) if row["Name"].startswith(NAME)]
    units = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}
    found = [re.match(r"([\d.]+)(\w+)", row["MemUsage"]) for row in rows]
    return sum(float(match[1]) * units[match[2]] for match in found if match)


async def test_no_event_is_lost_on_the_way_into_the_cluster_and_back(project: Project, tls: str) -> None:
    """Neither of those that wait in the stream while it moves, nor of those that are published meanwhile."""
    enough = asyncio.Event()
    await step(project, "single", "up", "--build", "--wait")
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish(project, "journey", enough))
        await step(project, "API stub stopped", "stop", "api_stub")
        project.dotenv(CLUSTER + tls)
        await step(project, "into the cluster", "up", "--build", "--wait")
        assert await asyncio.to_thread(flows, project)
        log.info("the cluster's memory: %.0f MB", await asyncio.to_thread(megabytes))
        assert "8 of 8 checks hold" in await step(project, "verify", "run", "--rm", "--no-TTY", "stack", "verify")
        for services in ROUNDS:
            # MongoDB steps down first, and then would stay for 15 s, so that clients can turn away from it.
            await step(project, "restarted", "restart", "--no-deps", "--timeout", "4", *services)
            assert await soon(lambda: project.is_well(*LASTING))
        await step(project, "workers and API stubs stopped", "stop", *OURS)
        await step(project, "out of the cluster", *LEAVE)
        project.dotenv(SINGLE + tls)
        await step(project, "single again", "up", "--build", "--wait", "--remove-orphans")
        assert await asyncio.to_thread(flows, project)
        enough.set()
    acknowledged = publishing.result()
    log.info("%d events acknowledged", len(acknowledged))
    assert await soon(lambda: acknowledged <= stored(project, "journey"))
    assert "8 of 8 checks hold" in await step(project, "verify", "run", "--rm", "--no-TTY", "stack", "verify")
