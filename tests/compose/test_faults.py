"""What happens to the composed stack: servers and services that stop or are killed, at a slot every 2 seconds."""

import asyncio
import re
import time
from datetime import datetime
from functools import partial

import pytest

from crypto_updates.bus.event import text
from tests.compose.project import Project, must
from tests.compose.traffic import flows, newest_slot, publish, stored
from tests.support import ROOT, eventually

pytestmark = pytest.mark.timeout(180)

# A file that states every default, and then what is other here.
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOTENV = (
    re.sub(r"^#(?=[A-Z_]+=)", "", EXAMPLE, flags=re.MULTILINE) + "SCHEDULE=*/2 * * * * *\nMARKET_SOURCE=simulated\n"
)
MISSED = (
    r"\[CRON\] Missed schedules: \d+ slots? from (\S+ )?\d\d:\d\d:\d\d to (\S+ )?\d\d:\d\d:\d\d;"
    r" publishing the latest \(MISSED_SLOTS=latest\) \(warning\)"
)
REFUSED = (
    r"\[NATS\] CONNECTION_REFUSED nats://nats:4222:"
    r" verify that the NATS server is running \(docker ps\); retrying in 2 s \(warning\)"
)


def test_an_env_file_with_every_variable_of_the_example_is_used(project: Project) -> None:
    assert project.line("worker", r"\[CRON\] Scheduled job initialized \(every 2 seconds\)")
    assert flows(project)
    assert project.events(1)[0]["source"] == "simulated"


def test_slots_missed_while_no_worker_runs_are_told(project: Project) -> None:
    assert flows(project)
    must(project.compose("stop", "worker"))
    last = newest_slot(project)
    assert eventually(lambda: time.time() > last + 6)
    must(project.compose("start", "worker"))
    assert project.line("worker", MISSED)
    assert flows(project)


def test_a_stopped_nats_is_told_and_events_flow_after_its_return(project: Project) -> None:
    must(project.compose("stop", "nats"))
    try:
        assert [project.line(service, REFUSED) for service in ("worker", "api_stub")]
    finally:
        must(project.compose("start", "nats"))
    assert flows(project)
    assert eventually(lambda: project.is_well("worker") and project.is_well("api_stub"))


def test_what_waits_for_nats_outlives_the_workers_container(project: Project) -> None:
    assert flows(project)
    must(project.compose("stop", "nats"))
    try:
        begin = time.time()
        assert eventually(lambda: time.time() > begin + 7)
        waiting = must(project.compose("exec", "-T", "worker", "ls", "/data/outbox"))
        must(project.compose("rm", "--stop", "--force", "worker"))
    finally:
        must(project.compose("start", "nats"))
        must(project.compose("up", "--detach", "--no-deps", "worker"))
    waited = int(project.line("worker", r"\[OUTBOX\] Events of an earlier run that wait for NATS: \d+").split()[-1])
    assert waited >= 2
    wanted = {text(datetime.fromisoformat(slot)) for slot in re.findall(r"crypto@(\w+)\.json", waiting)}
    assert len(wanted) >= 2
    assert eventually(lambda: wanted <= {identity.partition("@")[2] for identity in stored(project, "crypto")})
    assert flows(project)


def test_what_is_sent_while_mongo_is_stopped_is_stored_after_its_return(project: Project) -> None:
    must(project.compose("stop", "mongo"))
    try:
        assert project.line("api_stub", r"\[MONGO\] MongoDB is unavailable; events wait, retrying: .+")
        sent = set(re.findall(r"Sent crypto\.update event at (\S+)", project.logs("worker")))
    finally:
        must(project.compose("start", "mongo"))
    assert flows(project)
    assert eventually(lambda: sent <= {identity[-9:-1] for identity in stored(project, "crypto")})


@pytest.mark.parametrize("victim", ["worker", "nats", "api_stub", "mongo"])
async def test_a_killed_service_comes_back_and_nothing_acknowledged_is_lost(project: Project, victim: str) -> None:
    feed, enough = f"{victim}-killed", asyncio.Event()
    async with asyncio.TaskGroup() as group:
        publishing = group.create_task(publish(project, feed, enough))
        await asyncio.to_thread(kill_and_await, project, victim)
        enough.set()
    acknowledged = publishing.result()
    assert eventually(lambda: acknowledged <= stored(project, feed))


def kill_and_await(project: Project, victim: str) -> None:
    """Kill the service, and see that it comes back by itself, that all are well again, and that events flow."""
    restarts = project.inspect(victim)["RestartCount"]
    project.kill(victim)
    assert eventually(lambda: project.inspect(victim)["RestartCount"] == restarts + 1)
    assert flows(project)
    for service in ("worker", "nats", "api_stub", "mongo"):
        assert eventually(partial(project.is_well, service))
