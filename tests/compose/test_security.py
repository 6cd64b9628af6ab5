"""The composed stack as somebody from outside, and somebody with the docker command, finds it."""

import asyncio
import json
import re
import socket
import urllib.request
from datetime import datetime, timedelta

import nats
import pytest
from nats.errors import Error
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.bus.event import identity, text
from tests.compose.project import NAME, Project, docker, must
from tests.support import connect, eventually, settled, soon

pytestmark = pytest.mark.timeout(300)

LASTING = ("worker", "api_stub", "nats", "mongo")
QUARTER = timedelta(minutes=15)
ONE_SHOTS = ("credentials", "provision")
# The numeric users, none of them root.
USERS = {"mongo": "999"}
# Bytes over the base image.
MOST = {"worker": 90_000_000, "api_stub": 130_000_000, "stack": 130_000_000, "nats": 90_000_000}


def secrets() -> dict[str, str]:
    """Every secret of the stack, from the volume that only the one-shot mounts."""
    script = "import json, pathlib; print(json.dumps({p.name: p.read_text() for p in pathlib.Path('/s').iterdir()}))"
    run = ("run", "--rm", "--user", "0", "--volume", f"{NAME}_credentials:/s", "--entrypoint", "python")
    found: dict[str, str] = json.loads(must(docker(*run, "crypto-updates-stack", "-c", script)))
    return {name: value for name, value in found.items() if value}


def addresses(project: Project, service: str) -> list[str]:
    networks = project.inspect(service)["NetworkSettings"]["Networks"]
    return [network["IPAddress"] for network in networks.values() if network["IPAddress"]]


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=2).close()
    except OSError:
        return False
    return True


async def test_nats_gives_nothing_to_whoever_has_no_credential(project: Project) -> None:
    async def on_error(error: Exception) -> None:
        assert "authorization" in str(error).lower()

    client = nats.aio.client.Client()
    with pytest.raises(Error):
        await client.connect(project.nats_url, allow_reconnect=False, error_cb=on_error)
    await client.close()


@pytest.mark.parametrize("service", ["nats", "mongo", "worker", "api_stub"])
def test_no_monitoring_port_can_be_reached(project: Project, service: str) -> None:
    # The machine that Docker runs on reaches every container, also those of internal networks.
    assert addresses(project, service)
    assert not any(answers(address, 8222) for address in addresses(project, service))


def test_mongodb_has_no_port_outside_and_gives_nothing_to_whoever_has_no_credential(project: Project) -> None:
    assert not any(project.inspect("mongo")["NetworkSettings"]["Ports"].values())
    for address in addresses(project, "mongo"):
        assert answers(address, 27017)
        with MongoClient[dict[str, object]](f"mongodb://{address}", directConnection=True, timeoutMS=3000) as client:
            for attempt in (client.list_database_names, client.crypto.events.find_one, client.crypto.list_collections):
                with pytest.raises(PyMongoError, match="requires authentication"):
                    attempt()


@pytest.mark.parametrize(
    ("service", "target"), [("worker", "mongo:27017"), ("mongo", "nats:4222"), ("nats", "mongo:27017")]
)
def test_a_service_does_not_even_reach_what_is_not_its_part(project: Project, service: str, target: str) -> None:
    host, port = target.split(":")
    python = f"import socket; socket.create_connection(('{host}', {port}), 3)"
    command = ("bash", "-c", f"</dev/tcp/{host}/{port}") if service == "mongo" else ("python", "-c", python)
    assert project.compose("exec", "-T", service, *command).returncode != 0


@pytest.mark.parametrize(("network", "internal"), [("bus", True), ("database", True), ("edge", False)])
@pytest.mark.usefixtures("project")
def test_the_networks_of_the_servers_have_no_way_out(network: str, *, internal: bool) -> None:
    (found,) = json.loads(must(docker("network", "inspect", f"{NAME}_{network}")))
    assert found["Internal"] is internal


def test_no_secret_is_in_what_docker_shows_of_the_stack(project: Project) -> None:
    known = secrets()
    assert len(known) >= 9
    everything = {
        f"{what} {service}": output
        for service in (*LASTING, *ONE_SHOTS)
        for what, output in (
            ("inspect", must(docker("inspect", project.container(service)))),
            ("log", str(docker("logs", project.container(service)))),
        )
    }
    everything |= {f"top {service}": must(docker("top", project.container(service))) for service in LASTING}
    everything |= {f"image {image}": layers(image) for image in images()}
    assert [(where, name) for where, text in everything.items() for name, value in known.items() if value in text] == []
    assert any(value in must(project.compose("run", "--rm", "-T", "stack", "connect")) for value in known.values())


def images() -> list[str]:
    return [f"{NAME}-worker", f"{NAME}-api_stub", f"{NAME}-nats", "crypto-updates-stack"]


def layers(image: str) -> str:
    """What an image holds under our folders, and how it was made."""
    history = must(docker("history", "--no-trunc", image))
    find = "grep -rhoE '[0-9a-f]{64}' /app /credentials /run /etc 2>/dev/null | sort -u || true"
    return history + must(docker("run", "--rm", "--user", "0", "--entrypoint", "bash", image, "-c", find))


@pytest.mark.parametrize("service", LASTING)
def test_a_service_sees_its_own_secrets_only(project: Project, service: str) -> None:
    own = {
        "worker": {"nats-worker"},
        "api_stub": {"nats-api_stub", "mongo-writer", "mongo-reader"},
        "nats": set(),
        "mongo": {"mongo-key"},
    }
    # A health check that begins or ends meanwhile may not be read, or is gone.
    reading = "cat /run/secrets/*; env; cat /proc/1/environ && { cat /proc/*/environ 2>/dev/null; true; }"
    seen = must(project.compose("exec", "-T", service, "bash", "-c", reading))
    assert {name for name, value in secrets().items() if value in seen and ".bcrypt" not in name} == own[service]


@pytest.mark.parametrize("service", LASTING)
def test_a_service_can_do_nothing_to_its_machine(project: Project, service: str) -> None:
    assert write_is_refused(project, service, "/app/x") or write_is_refused(project, service, "/etc/x")
    status = must(project.compose("exec", "-T", service, "bash", "-c", "cat /proc/1/status"))
    facts = dict(re.findall(r"^(\w+):\s+(.*)$", status, re.MULTILINE))
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"
    assert set(facts["Uid"].split()) == {USERS.get(service, "10001")}
    host = project.inspect(service)["HostConfig"]
    assert host["PidsLimit"] > 0
    assert host["Memory"] > 0


def write_is_refused(project: Project, service: str, path: str) -> bool:
    result = project.compose("exec", "-T", service, "bash", "-c", f"echo x > {path}")
    return "Read-only file system" in result.stderr


@pytest.mark.parametrize("service", ONE_SHOTS)
def test_not_even_a_one_shot_runs_as_root(project: Project, service: str) -> None:
    inspected = project.inspect(service)
    assert inspected["Config"]["User"] == "10001:10001"
    assert inspected["HostConfig"]["CapDrop"] == ["ALL"]
    assert inspected["HostConfig"]["ReadonlyRootfs"]


@pytest.mark.parametrize("image", MOST)
@pytest.mark.usefixtures("project")
def test_an_image_is_small(image: str) -> None:
    name = f"crypto-updates-{image}" if image == "stack" else f"{NAME}-{image}"
    assert size(name) - size("python:3.13-slim") < MOST[image]


def size(image: str) -> int:
    return int(must(docker("image", "inspect", "--format", "{{.Size}}", image)))


async def test_a_subscriber_of_ones_own_hears_every_event_and_can_do_nothing_else(project: Project) -> None:
    told: list[str] = []

    async def on_error(error: Exception) -> None:
        told.append(str(error))

    subscriber, operator = project.client("subscriber"), project.operator
    client = await connect(
        project.nats_url, user=subscriber["NATS_USER"], password=subscriber["NATS_PASSWORD"], error_cb=on_error
    )
    heard = await client.subscribe("crypto.updates")
    await settled(client)
    publisher = await project.connect(**operator)
    body = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:45:00Z"}'
    await publisher.jetstream().publish("crypto.updates", body, headers={"Nats-Msg-Id": "for-the-subscriber"})
    # The stack's own events come on the same subject.
    async with asyncio.timeout(10):
        while (await heard.next_msg(10)).data != body:
            pass
    await client.publish("crypto.updates", b"forged")
    await settled(client)
    await asyncio.sleep(0.1)
    assert any("permissions violation" in line for line in told)
    await client.close()
    await publisher.close()


async def test_an_api_server_of_ones_own_reads_the_stream_by_its_own_consumer(project: Project) -> None:
    publisher, client = await project.connect(), await project.connect(**project.client("consumer"))
    body = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T15:00:00Z"}'
    await publisher.jetstream().publish("crypto.updates", body, headers={"Nats-Msg-Id": "for-the-consumer"})
    prefix = project.client("consumer")["NATS_API_PREFIX"]
    mine = await client.jetstream(prefix=prefix).pull_subscribe_bind("consumer", "CRYPTO")
    bodies = []
    while body not in bodies:
        for message in await mine.fetch(100, timeout=30):
            bodies.append(message.data)
            await message.ack()
    await client.close()
    await publisher.close()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("verify",), "8 of 8 checks hold"),
        (("audit",), "Newest slot: published"),
        (("dead-letters", "list"), "dead letters"),
    ],
)
def test_the_commands_of_the_stack_run_within_it(project: Project, command: tuple[str, ...], expected: str) -> None:
    def output() -> str:
        return project.compose("run", "--rm", "--no-TTY", "stack", *command, timeout=90).stdout

    assert expected in (eventually(lambda: text if expected in (text := output()) else "", 60) or output())


async def test_the_operator_may_repair_a_missing_slot(project: Project) -> None:
    # Not the newest: the stack may run for more than one slot. Not those that other tests publish.
    own = await soon(lambda: [event for event in project.events() if event["_id"].startswith("crypto@")])
    oldest = datetime.fromisoformat(own[-1]["timestamp"])
    missing, before = oldest - QUARTER, oldest - 2 * QUARTER
    client = await project.connect()
    body = json.dumps({"event": "CRYPTO_UPDATE", "timestamp": text(before)}).encode()
    await client.jetstream().publish("crypto.updates", body, headers={"Nats-Msg-Id": identity("crypto", before)})
    await client.close()
    assert await asyncio.to_thread(project.has, identity("crypto", before))
    repair = ("run", "--rm", "--no-TTY", "--env", "MARKET_SOURCE=simulated", "stack", "audit", "--repair", "--json")
    done = await asyncio.to_thread(project.compose, *repair, timeout=90)
    assert json.loads(done.stdout)["repair"]["published"] == 1
    assert await asyncio.to_thread(project.has, identity("crypto", missing))


def test_the_page_is_the_only_thing_that_answers_without_a_credential(project: Project) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{project.http_port}/livez", timeout=5) as answer:
        assert answer.status == 200
    bound = [
        (service, port)
        for service in LASTING
        for port, bindings in project.inspect(service)["NetworkSettings"]["Ports"].items()
        if bindings
    ]
    assert bound == [("api_stub", "8080/tcp"), ("nats", "4222/tcp")]


@pytest.mark.parametrize(
    ("victim", "after"),
    [("credentials", 0.0), ("mongo", 0.5), ("provision", 0.5)],
)
def test_a_first_start_that_is_killed_in_the_middle_is_completed_by_the_next(
    project: Project, victim: str, after: float
) -> None:
    def killed() -> bool:
        project.down(keeping_images=True)
        return project.up_and_kill(victim, after)

    assert killed() or killed() or killed()
    project.up()
    for service in LASTING:
        assert eventually(lambda service=service: project.is_well(service))
    assert eventually(project.events)
