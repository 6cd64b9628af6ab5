"""A stack of one server each that becomes the cluster, and a cluster that loses members; a slot every 2 seconds."""

import asyncio
import re
from collections.abc import Iterator
from functools import partial

import pytest

from stack.setup.servers import MONGO, NATS
from tests.compose import members
from tests.compose.project import Project, must
from tests.compose.traffic import flows, publish, stored
from tests.support import eventually, soon

pytestmark = pytest.mark.timeout(600)

SINGLE = "SCHEDULE=*/2 * * * * *\nMARKET_SOURCE=simulated\nMISSED_SLOTS=all\n"
CLUSTER = f"{SINGLE}COMPOSE_FILE=compose.yaml:compose.cluster.yaml\n"
OURS = ("worker", "worker2", "api_stub", "api_stub2")
LASTING = (*OURS, *NATS, *MONGO)


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


@pytest.mark.parametrize("service", LASTING)
def test_every_member_is_up_and_healthy(project: Project, service: str) -> None:
    assert project.is_well(service)
    assert project.inspect(service)["RestartCount"] == 0


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


async def test_a_killed_member_of_each_kind_comes_back_and_nothing_acknowledged_is_lost(project: Project) -> None:
    enough = asyncio.Event()
    leader, primary = await members.nats_leader(project), members.mongo_primary(project)
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish(project, "killed", enough))
        for victim in (leader, primary, "worker", "api_stub2"):
            await asyncio.to_thread(project.kill, victim)
        for victim in (leader, primary, "worker", "api_stub2"):
            assert await soon(lambda victim=victim: project.inspect(victim)["RestartCount"] == 1)
        for service in LASTING:
            assert await soon(partial(project.is_well, service))
        enough.set()
    acknowledged = publishing.result()
    assert eventually(lambda: acknowledged <= stored(project, "killed"))


async def test_the_smaller_side_of_a_partition_acknowledges_nothing_and_both_agree_after_it(project: Project) -> None:
    enough = asyncio.Event()
    leader, primary = await members.nats_leader(project), members.mongo_primary(project)
    login = project.operator["NATS_PASSWORD"]
    async with asyncio.TaskGroup() as group:
        with members.cut_off(project, leader, primary):
            publishing = group.create_task(publish(project, "parted", enough))
            beside = partial(asyncio.to_thread, members.beside, project)
            told = await asyncio.gather(
                beside(leader, members.OFFER_TO_NATS, password=login, identity="smaller@nats"),
                beside(primary, members.OFFER_TO_MONGO, url=members.mongo_url(project), identity="smaller@mongo"),
            )
            # The larger side goes on meanwhile.
            assert await asyncio.to_thread(flows, project)
        enough.set()
    assert [text for text in told if not text.startswith("not acknowledged: ")] == []
    acknowledged = publishing.result()
    must(await asyncio.to_thread(project.compose, "stop", "worker", "worker2"))  # they would go on between two looks
    assert await soon(lambda: len(members.documents(project)) == len(members.stream_states(project)) == 1)
    (agreed,) = await asyncio.to_thread(members.documents, project)
    assert acknowledged <= {*re.findall(r"parted@\d+", agreed)}
    assert "smaller@" not in agreed
