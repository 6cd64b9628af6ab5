"""`docker compose up --build` as shipped, with no `.env` and no other step."""

import json
import re
import time
from datetime import datetime

import pytest
from pymongo import MongoClient

from tests.compose.project import NAME, Project, docker, must
from tests.support import eventually

pytestmark = pytest.mark.timeout(300)

OURS = ("worker", "api_stub")
LASTING = (*OURS, "nats", "mongo")
INVALID = (
    r"\[EVENT\] Invalid event format: timestamp: not an ISO 8601 time \(seq \d+\): moved to dead_letters \(warning\)"
)


@pytest.mark.parametrize("service", LASTING)
def test_every_service_is_up_and_healthy(project: Project, service: str) -> None:
    assert project.is_well(service)
    assert project.inspect(service)["RestartCount"] == 0


def test_the_provisioner_has_done_its_work_and_ended(project: Project) -> None:
    state = project.inspect("provision")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 0)


def test_the_first_event_is_stored_and_shown_without_waiting_for_the_clock(project: Project) -> None:
    assert eventually(project.events)
    event = project.events()[-1]
    slot = datetime.fromisoformat(event["timestamp"])
    assert event["_id"] == f"crypto@{event['timestamp']}"
    assert (event["event"], slot.minute % 15, slot.second) == ("CRYPTO_UPDATE", 0, 0)


@pytest.mark.parametrize(
    ("service", "line"),
    [
        ("worker", r"\[NATS\] Connected to nats://nats:4222"),
        ("worker", r"\[CRON\] Scheduled job initialized \(every 15 minutes\)"),
        ("worker", r"\[PUBLISH\] Sent crypto\.update event at \d\d:(00|15|30|45):00 on crypto\.updates"),
        ("api_stub", r"\[NATS\] Connected to nats://nats:4222"),
        ("api_stub", r"\[EVENT\] Stored crypto@\S+ \(seq 1\)"),
    ],
)
def test_the_log_has_the_line_that_people_look_for(project: Project, service: str, line: str) -> None:
    assert project.line(service, line)


async def test_an_event_from_this_machine_is_stored_and_an_invalid_one_is_told_and_kept(project: Project) -> None:
    client = await project.connect()
    for identity, timestamp in (("bad", "21.11.2023 14:30"), ("good", "2023-11-21T14:30:00Z")):
        body = json.dumps({"event": "CRYPTO_UPDATE", "timestamp": timestamp}).encode()
        await client.jetstream().publish("crypto.updates", body, headers={"Nats-Msg-Id": identity})
    await client.close()
    assert project.has("good")
    seq = int(re.findall(r"\d+", project.line("api_stub", INVALID))[-1])
    with MongoClient[dict[str, object]](project.mongo_url) as mongo:
        letter = mongo.crypto.dead_letters.find_one({"stream_seq": seq})
        assert letter is not None
        assert letter["headers"] == {"Nats-Msg-Id": "bad"}
        assert mongo.crypto.events.find_one({"_id": "bad"}) is None


@pytest.mark.parametrize("service", LASTING)
def test_ports_are_published_on_the_loopback_interface_only(project: Project, service: str) -> None:
    published = project.inspect(service)["NetworkSettings"]["Ports"]
    bindings = {port: [b["HostIp"] for b in bound] for port, bound in published.items() if bound}
    wanted = {"nats": "4222/tcp", "api_stub": "8080/tcp"}
    assert bindings == ({wanted[service]: ["127.0.0.1"]} if service in wanted else {})


@pytest.mark.parametrize("service", OURS)
def test_no_process_of_ours_runs_as_root(project: Project, service: str) -> None:
    _, *uids = must(docker("top", project.container(service), "-eo", "uid,pid")).splitlines()
    assert {line.split()[0] for line in uids} == {"10001"}


@pytest.mark.parametrize("service", [*LASTING, "provision"])
def test_logs_rotate(project: Project, service: str) -> None:
    config = project.inspect(service)["HostConfig"]["LogConfig"]["Config"]
    assert config == {"max-size": "10m", "max-file": "3"}


@pytest.mark.parametrize("service", [*LASTING, "provision"])
def test_no_volume_is_without_a_name_and_so_left_behind_by_every_down(project: Project, service: str) -> None:
    volumes = [mount["Name"] for mount in project.inspect(service)["Mounts"] if mount["Type"] == "volume"]
    assert volumes
    assert all(volume.startswith(f"{NAME}_") for volume in volumes)


@pytest.mark.parametrize(
    ("service", "absent"),
    [("worker", "pymongo"), ("worker", "fastapi"), ("api_stub", "httpx"), ("api_stub", "schedule")],
)
def test_an_image_holds_only_what_its_service_needs(project: Project, service: str, absent: str) -> None:
    script = f"import importlib.util as u; print([u.find_spec(name) is not None for name in ('nats', {absent!r})])"
    assert must(project.compose("exec", "-T", service, "python", "-c", script)).strip() == "[True, False]"


def test_a_bad_schedule_ends_the_worker_with_status_2_and_a_line_that_says_why(project: Project) -> None:
    result = project.compose("run", "--rm", "--no-deps", "-T", "-e", "SCHEDULE=*/15 * * *", "worker")
    assert result.returncode == 2
    assert "SCHEDULE=*/15 * * *: '*/15 * * *': 5 fields expected" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_second_up_changes_nothing_and_provisions_without_harm(project: Project) -> None:
    started = [project.inspect(service)["State"]["StartedAt"] for service in LASTING]
    provisioned, events = project.inspect("provision")["State"]["StartedAt"], project.events()
    project.up()
    assert [project.inspect(service)["State"]["StartedAt"] for service in LASTING] == started
    assert project.inspect("provision")["State"]["StartedAt"] > provisioned
    assert project.inspect("provision")["State"]["ExitCode"] == 0
    assert {event["_id"] for event in events} <= {event["_id"] for event in project.events()}


def test_sigterm_ends_our_services_with_status_0_within_10_seconds(project: Project) -> None:
    begin = time.monotonic()
    must(project.compose("stop", *OURS))
    assert time.monotonic() - begin < 10
    assert [project.inspect(service)["State"]["ExitCode"] for service in OURS] == [0, 0]


def test_down_and_up_keep_the_events(project: Project) -> None:
    must(project.compose("down"))
    project.up()
    assert project.has("good")


def test_the_harness_has_all_its_servers_in_its_container(project: Project) -> None:
    commands = ("publish", "fault mongo down 0", "fault nats freeze 0", "wait published")
    run = " && ".join(f"python -m stack {command}" for command in commands)
    # Without `up`, no port of this machine is used.
    harness = ("run", "--rm", "--build", "--no-TTY", "--no-deps", "harness", "--exec", run)
    told = must(project.compose("--profile", "harness", *harness, timeout=240))
    assert told.splitlines()[-1] == "Published on crypto.updates: message 1 of the stream"
