"""A stack of one server each that becomes the cluster, and a cluster that loses members; a slot every 5 seconds."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial

import pytest

from stack.setup.servers import MONGO, NATS
from tests.compose import members
from tests.compose.project import Project, must
from tests.compose.traffic import flows, publish, stored
from tests.support import eventually, soon

pytestmark = pytest.mark.timeout(900)

SINGLE = "SCHEDULE=*/5 * * * * *\nMARKET_SOURCE=simulated\nMISSED_SLOTS=all\n"
CLUSTER = f"{SINGLE}COMPOSE_FILE=compose.yaml:compose.cluster.yaml\n"
OURS = ("worker", "worker2", "api_stub", "api_stub2")
LASTING = (*OURS, *NATS, *MONGO)
# Seconds. A server that is lost silently may be sent events for an API stub until its pull request expires, after 30 s;
# MongoDB takes 10 s to elect a primary, and as long to take back what it alone had.
GO_ON, AGREE = 120, 120


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """The cluster, made of a single stack whose stream has 100 events that no API stub has seen."""
    project = Project(tmp_path_factory.mktemp("compose"), CLUSTER)
    project.down()
    try:
        project.dotenv(SINGLE)
        project.up("worker")
        assert len(asyncio.run(publish(project, "single", _set()))) == 100
        project.dotenv(CLUSTER)
        project.up()
        yield project
    finally:
        project.dotenv(CLUSTER)
        project.down()


def _set() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


def test_every_member_is_up_and_healthy(project: Project) -> None:
    assert project.is_well(*LASTING)
    counts = restarts(project)
    assert {service: counts[service] for service in LASTING} == dict.fromkeys(LASTING, 0)


def restarts(project: Project) -> dict[str, int]:
    """By Docker, after an end that nobody has asked for."""
    return {service: container["RestartCount"] for service, container in project.containers().items()}


def test_what_waited_in_the_single_stack_is_stored(project: Project) -> None:
    assert eventually(lambda: len(stored(project, "single")) == 100)


async def test_the_stream_has_three_copies_and_the_consumers_their_place(project: Project) -> None:
    client = await project.connect()
    js = client.jetstream()
    stream, consumer = await js.stream_info("CRYPTO"), await js.consumer_info("CRYPTO", "api_stub")
    await client.close()
    assert (stream.config.num_replicas, stream.state.first_seq) == (3, 1)
    assert stream.cluster
    assert {stream.cluster.leader, *(peer.name for peer in stream.cluster.replicas or ())} == {*NATS}
    assert consumer.cluster
    assert len(consumer.cluster.replicas or ()) == 2


def test_verify_and_audit_hold(project: Project) -> None:
    verify = project.compose("run", "--rm", "--no-TTY", "stack", "verify", timeout=90)
    assert "8 of 8 checks hold" in verify.stdout, verify.stdout
    assert "mongo:27017,mongo2:27017,mongo3:27017" in verify.stdout
    assert "Newest slot: published" in must(project.compose("run", "--rm", "--no-TTY", "stack", "audit"))


@asynccontextmanager
async def nothing_lost(project: Project, feed: str) -> AsyncIterator[None]:
    """Events are published meanwhile; in the end all members are well, and each acknowledged event is stored."""
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish(project, feed, enough))
        yield
        assert await soon(lambda: project.is_well(*LASTING))
        enough.set()
    acknowledged = publishing.result()
    assert await soon(lambda: acknowledged <= stored(project, feed))


def followers(leader: str, primary: str) -> tuple[str, str]:
    return next(name for name in NATS if name != leader), next(name for name in MONGO if name != primary)


async def test_a_killed_leader_and_primary_come_back_and_nothing_acknowledged_is_lost(project: Project) -> None:
    victims = (*await members.leading(project), "worker", "api_stub2")
    before = restarts(project)
    async with nothing_lost(project, "killed"):
        await asyncio.to_thread(project.kill, *victims)
        assert await soon(lambda: all(restarts(project)[victim] > before[victim] for victim in victims))


async def test_events_go_on_without_a_frozen_follower_and_secondary_and_nothing_is_lost(project: Project) -> None:
    victims = followers(*await members.leading(project))
    async with nothing_lost(project, "frozen"):
        with members.frozen(project, *victims, "worker2", "api_stub2"):
            assert await asyncio.to_thread(flows, project, GO_ON)


async def test_the_smaller_side_of_a_partition_acknowledges_nothing_and_both_agree_after_it(project: Project) -> None:
    enough = asyncio.Event()
    leader, primary = await members.leading(project)
    offers = partial(members.offers, project, leader, primary)
    assert await offers("whole") == ["acknowledged", "acknowledged"]
    async with asyncio.TaskGroup() as group:
        with members.cut_off(project, leader, primary):
            publishing = group.create_task(publish(project, "parted", enough))
            told = await offers("smaller")
            # The larger side goes on meanwhile.
            assert await asyncio.to_thread(flows, project, GO_ON)
        enough.set()
    assert [text for text in told if not text.startswith("not acknowledged: ")] == []
    acknowledged = publishing.result()
    must(await asyncio.to_thread(project.compose, "stop", "worker", "worker2"))  # they would go on between two looks

    def agreed() -> str:
        told = members.agreed(project)
        return told if acknowledged <= {*re.findall(r"parted@\d+", told)} else ""

    told_by_all = await soon(agreed, AGREE)
    assert told_by_all
    assert "smaller@" not in told_by_all
