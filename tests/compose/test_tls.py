"""The composed stack with TLS, certificates of one's own, and a password of one's own."""

import asyncio
import ssl

import pytest
import trustme
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.compose.project import Project, must
from tests.support import connect, eventually, settled

pytestmark = pytest.mark.timeout(180)

OWN = "the operator's own password"
DOTENV = """\
TLS=on
MARKET_SOURCE=simulated
NATS_ANONYMOUS=on
TRIGGER_SUBJECT=own.subject
TRIGGER_BODY={"trigger":"update"}
"""
CA = trustme.CA()


def SECRETS() -> dict[str, str]:  # noqa: N802 - the fixture's name for it
    """What the folder holds: the CA, and for each server its certificate with its key."""
    pem = {"ca.pem": CA.cert_pem.bytes().decode(), "nats-operator": OWN}
    for server in ("nats", "mongo"):
        certificate = CA.issue_cert(server, "localhost", "127.0.0.1")
        pem[f"{server}.pem"] = certificate.private_key_and_cert_chain_pem.bytes().decode()
    return pem


def test_the_services_speak_tls_with_both_servers(project: Project) -> None:
    assert eventually(project.events)
    assert project.line("worker", r"\[NATS\] Connected to nats://nats:4222")
    log = must(
        project.compose("exec", "-T", "api_stub", "python", "-c", "print(open('/run/secrets/mongo-url').read())")
    )
    assert "&tls=true&tlsCAFile=/run/secrets/ca.pem" in log


async def test_nats_takes_the_operators_own_password_over_tls_only(project: Project) -> None:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    client = await connect(project.nats_url, user="operator", password=OWN, tls=context)
    await client.close()


async def test_without_a_login_one_hears_the_events_and_the_triggers(project: Project) -> None:
    context = ssl.create_default_context()
    CA.configure_trust(context)
    client = await connect(project.nats_url, tls=context)
    events, triggers = [await client.subscribe(subject) for subject in ("crypto.updates", "own.subject")]
    await settled(client)
    once = ("python", "-m", "worker", "--once", "--slot", "2023-11-21T14:30:00Z")
    said = must(await asyncio.to_thread(project.compose, "run", "--rm", "--no-deps", "--no-TTY", "worker", *once))
    assert "Sent crypto.update event at 14:30:00 on crypto.updates and own.subject" in said
    assert b'"timestamp":"2023-11-21T14:30:00Z"' in (await events.next_msg(10)).data
    assert (await triggers.next_msg(10)).data == b'{"trigger":"update"}'
    await client.close()


def test_mongodb_takes_tls_only(project: Project) -> None:
    address = project.inspect("mongo")["NetworkSettings"]["Networks"]
    host = next(iter(address.values()))["IPAddress"]
    with (
        MongoClient[dict[str, object]](f"mongodb://{host}", directConnection=True, timeoutMS=3000) as client,
        pytest.raises(PyMongoError, match=r"connection closed|Timeout|reset"),
    ):
        client.admin.command("ping")


def test_the_commands_of_the_stack_use_tls_too(project: Project) -> None:
    assert eventually(project.events)
    assert "8 of 8 checks hold" in must(project.compose("run", "--rm", "--no-TTY", "stack", "verify", timeout=90))
    told = must(project.compose("run", "--rm", "--no-TTY", "stack", "connect"))
    assert f"NATS_PASSWORD={OWN}\nNATS_CA=secrets/ca.pem" in told
