"""What a NATS server refuses for good is told as that, with the way out, and is taken up when the server allows it."""

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from api_stub.http.state import FRESH_SECONDS
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.bus.stream import MAX_BYTES, stream_config
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import NatsServer
from tests.support import HANG_SECONDS, connect, soon

BODY = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'
SMALL_DISK = "jetstream { max_file_store: 1GB }"


def account(limits: str) -> str:
    return f"jetstream {{}}\naccounts {{ A {{ jetstream {{ {limits} }}, users: [{{ user: one, password: p }}] }} }}"


def user(rights: str) -> str:
    """A server with JetStream whose only user has these rights."""
    return f"jetstream {{}}\nauthorization {{ users: [{{ user: one, password: p, permissions: {{ {rights} }} }}] }}"


class Case(NamedTuple):
    """`told`: what the log says. `other`: a stream that is there before; without it the refusal ends."""

    config: str
    told: str
    other: dict[str, Any] | None = None
    replicas: str = "1"


CASES = {
    "no room on the server": Case(SMALL_DISK, "stream CRYPTO needs 2 GiB of JetStream storage"),
    "no room in the account": Case(account("max_file: 1GB"), "stream CRYPTO needs 2 GiB of JetStream storage"),
    "a limit of the stream's size": Case(
        account("max_file: 9GB, max_bytes: true, disk_max_stream_bytes: 1GB"), "disk_max_stream_bytes"
    ),
    "a limit of the server": Case("jetstream { limits { duplicate_window: 1h } }", "server limit of 1h"),
    "no cluster": Case("jetstream {}", "set STREAM_REPLICAS=1, or use a cluster", replicas="3"),
    "too many streams": Case(
        account("max_file: 9GB, max_streams: 1"), "raise max_streams", {"name": "OTHER", "subjects": ["other"]}
    ),
    "another stream on the subject": Case(
        "jetstream {}", "another stream takes crypto.updates", {"name": "OTHER", "subjects": ["crypto.>"]}
    ),
    "our name for another subject": Case(
        "jetstream {}",
        "stream CRYPTO takes other.* and not crypto.updates",
        {"name": "CRYPTO", "subjects": ["other.*"]},
    ),
}


def login(server: NatsServer, **environ: str) -> dict[str, str]:
    return {"NATS_URL": server.url, "NATS_USER": "one", "NATS_PASSWORD": "p"} | environ


def ready(port: str) -> tuple[int, dict[str, Any]]:
    """The status and the body of the API stub's /readyz."""
    answer = httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False, timeout=HANG_SECONDS)
    return answer.status_code, answer.json()


async def client(server: NatsServer) -> Client:
    return await connect(server.url, user="one", password="p")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_definite_refusal_is_told_once_without_a_claim_about_the_connection(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    with NatsServer(config=case.config, jetstream=False) as server:
        js = (admin := await client(server)).jetstream()
        if case.other:
            await js.add_stream(**case.other)
        async with Bus(BusSettings.load(login(server, STREAM_REPLICAS=case.replicas)), "test") as bus:
            begin = time.monotonic()
            with pytest.raises(UnreachableError, match=rf"^REFUSED .*{case.told}"):
                await bus.connection(30)
            assert time.monotonic() - begin < 10
            with pytest.raises(UnreachableError, match=case.told):
                await bus.ping()
            await asyncio.sleep(2.5)  # it tries again after 2 s
            told = [record.getMessage() for record in caplog.records if "[NATS]" in record.getMessage()]
            assert len(told) == 1
            assert "CONNECTION" not in told[0]
            if case.other:
                await js.delete_stream(case.other["name"])
                assert (await asyncio.wait_for(bus.publish(BODY, {}), 15)).seq == 1
        await admin.close()


async def limited(js: JetStreamContext, **limits: int) -> None:
    config = stream_config(1).evolve(**limits)
    await js.add_stream(config)
    await js.publish("crypto.updates", BODY)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({"max_msgs": 1}, "maximum messages exceeded: stream CRYPTO is full"),
        ({"max_bytes": 150}, "maximum bytes exceeded: stream CRYPTO is full"),
        ({"max_msg_size": 100}, "message size exceeds maximum allowed: raise max_msg_size of stream CRYPTO"),
    ],
)
async def test_a_stream_that_takes_no_event_is_named_and_used_when_it_takes_one(
    limits: dict[str, int], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    with NatsServer() as server:
        admin = await connect(server.url)
        js = admin.jetstream()
        await limited(js, **limits)
        async with Bus(BusSettings.load({"NATS_URL": server.url}), "test") as bus:
            publishing = asyncio.create_task(bus.publish(BODY.ljust(120), {}))
            assert await soon(lambda: told in caplog.text, 20)
            assert not publishing.done()
            assert bus.refusal
            assert bus.refusal.startswith(told)
            await js.update_stream(stream_config(1))
            assert (await asyncio.wait_for(publishing, 15)).seq == 2
            assert bus.refusal is None
        assert caplog.text.count("did not acknowledge") == 1
        assert "Disconnected" not in caplog.text
        await admin.close()


@pytest.mark.parametrize("delivery", ["jetstream", "core"])
async def test_an_event_that_the_user_may_not_publish_is_not_taken_for_sent(
    delivery: str, caplog: pytest.LogCaptureFixture
) -> None:
    rights = 'publish: { deny: ["crypto.updates"] }'
    with NatsServer(config=user(rights), jetstream=False) as server:
        async with Bus(BusSettings.load(login(server, DELIVERY=delivery)), "test") as bus:
            await bus.connection(30)  # the seconds are the event's alone
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(bus.publish(BODY, {}), 3.5)
        assert (
            "did not acknowledge the event (the user may not publish on crypto.updates: verify NATS_USER" in caplog.text
        )
        # Once by nats-py's line and once by ours, however often it is tried.
        assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 2


@pytest.fixture
def small_server() -> Iterator[NatsServer]:
    with NatsServer(config=SMALL_DISK, jetstream=False) as server:
        yield server


def provision(service: Service, server: NatsServer, mongo_url: str, *options: str) -> Process:
    return service("stack", "provision", *options, NATS_URL=server.url, MONGO_URL=mongo_url)


async def test_provision_ends_at_once_with_the_refusal(
    small_server: NatsServer, service: Service, mongo_url: str
) -> None:
    process = provision(service, small_server, mongo_url)
    assert await asyncio.to_thread(process.wait, 30) == 1
    line = process.wait_for_line("[PROVISION]")
    assert "stream CRYPTO needs 2 GiB of JetStream storage" in line
    assert "`crypto-updates provision --small`" in line


@pytest.mark.parametrize(("room", "size"), [("1GB", MAX_BYTES // 4), ("100MB", MAX_BYTES // 32)])
async def test_provision_makes_a_smaller_stream_where_it_is_asked_to(
    room: str, size: int, service: Service, mongo_url: str
) -> None:
    with NatsServer(config=f"jetstream {{ max_file_store: {room} }}", jetstream=False) as server:
        for _ in range(2):
            process = provision(service, server, mongo_url, "--small")
            assert await asyncio.to_thread(process.wait, 30) == 0
        connection = await connect(server.url)
        infos = await connection.jetstream().streams_info()
        await connection.close()
        assert {info.config.name: info.config.max_bytes for info in infos} == {"CRYPTO": size, "CRYPTO_CLAIMS": 1024**2}


async def test_provision_gives_an_owners_stream_the_subject_and_leaves_it_the_others(
    service: Service, mongo_url: str
) -> None:
    with NatsServer() as server:
        connection = await connect(server.url)
        js = connection.jetstream()
        await js.add_stream(StreamConfig(name="CRYPTO", subjects=["mine.*", "crypto.*"]))
        process = provision(service, server, mongo_url)
        assert await asyncio.to_thread(process.wait, 30) == 0
        subjects = (await js.stream_info("CRYPTO")).config.subjects or []
        assert ("mine.*" in subjects, "crypto.updates" in subjects, "crypto.*" in subjects) == (True, True, False)
        assert (await js.stream_info("CRYPTO_CLAIMS")).config.subjects == ["crypto.claims"]
        await connection.close()


async def test_provision_names_the_right_that_its_user_lacks(service: Service, mongo_url: str) -> None:
    with NatsServer(config=user('publish: { deny: ["$JS.API.STREAM.CREATE.*"] }'), jetstream=False) as server:
        environ = login(server) | {"MONGO_URL": mongo_url}
        process = service("stack", "provision", **environ)
        assert await asyncio.to_thread(process.wait, 30) == 1
        assert "the user may not publish on" in process.wait_for_line("[PROVISION]")


NO_JETSTREAM = "jetstream {}\naccounts { A { users: [{ user: one, password: p }] }, B { jetstream: enabled } }"


@pytest.mark.parametrize(
    ("config", "password", "told"),
    [
        (account("max_file: 9GB"), "wrong", "verify NATS_USER and NATS_PASSWORD"),
        (NO_JETSTREAM, "p", "the NATS account has no JetStream"),
    ],
    ids=["wrong password", "account without JetStream"],
)
async def test_provision_does_not_wait_for_what_will_be_refused_again(
    service: Service, mongo_url: str, config: str, password: str, told: str
) -> None:
    with NatsServer(config=config, jetstream=False) as server:
        process = service("stack", "provision", **login(server) | {"NATS_PASSWORD": password}, MONGO_URL=mongo_url)
        assert await asyncio.to_thread(process.wait, 30) == 1
        assert told in process.wait_for_line("[PROVISION]")


async def test_a_server_that_refuses_leaves_the_others_their_turn(service: Service, mongo_url: str) -> None:
    with (
        NatsServer(config=NO_JETSTREAM, jetstream=False) as refusing,
        NatsServer(config=account("max_file: 9GB"), jetstream=False) as other,
    ):
        both = {"NATS_URL": f"{refusing.url},{refusing.url},{other.url}"}  # it begins with any of them
        process = service("stack", "provision", **login(other) | both, MONGO_URL=mongo_url)
        assert await asyncio.to_thread(process.wait, 30) == 0


async def test_a_consumer_that_the_server_refuses_is_named_by_the_api_stub(service: Service, mongo_url: str) -> None:
    with NatsServer(config="jetstream { limits { max_ack_pending: 100 } }", jetstream=False) as server:
        port = str(ports.free())
        process = service("api_stub", NATS_URL=server.url, MONGO_URL=mongo_url, HTTP_PORT=port)
        line = await asyncio.to_thread(process.wait_for_line, "[NATS] No consumer api_stub", 20)
        assert "system limit of 100: raise max_ack_pending" in line

        def is_named() -> bool:
            status, told = ready(port)
            return status == 503 and "there is no consumer api_stub" in told["reasons"][0]

        assert await soon(is_named)


async def test_an_api_stub_that_may_not_ask_for_the_figures_is_ready(service: Service, mongo_url: str) -> None:
    with NatsServer(config=user('publish: { deny: ["$JS.API.CONSUMER.INFO.*.*"] }'), jetstream=False) as server:
        port = str(ports.free())
        environ = login(server) | {"MONGO_URL": mongo_url, "HTTP_PORT": port}
        process = service("api_stub", **environ)
        await asyncio.to_thread(process.wait_for_line, "[NATS] Connected", 20)
        assert await soon(lambda: ready(port)[0] == 200)
        answers = []
        for _ in range(3):  # while the machine stands still, any answer is slow
            await asyncio.sleep(FRESH_SECONDS)  # a younger answer would be told again
            begin = time.monotonic()
            status, told = await asyncio.to_thread(ready, port)
            answers.append((time.monotonic() - begin, status, "CONSUMER.INFO" in str(told.get("warnings"))))
        seconds, *answer = min(answers)
        assert seconds < 1.5
        assert answer == [200, True]


@pytest.mark.parametrize("subject", ["$JS.API.CONSUMER.MSG.NEXT.CRYPTO.api_stub", "$JS.ACK.>"])
async def test_an_api_stub_that_may_not_have_events_or_acknowledge_them_is_not_ready(
    service: Service, mongo_url: str, subject: str
) -> None:
    with NatsServer(config=user(f'publish: {{ deny: ["{subject}"] }}'), jetstream=False) as server:
        port = str(ports.free())
        process = service("api_stub", **login(server), MONGO_URL=mongo_url, HTTP_PORT=port)
        await asyncio.to_thread(process.wait_for_line, "[NATS] Connected", 20)
        client = await connect(server.url, user="one", password="p")
        for _ in range(3):
            await client.jetstream().publish("crypto.updates", BODY)
        await client.close()
        expected = f"the user may not publish on {subject}: verify NATS_USER and its rights"
        assert await soon(lambda: ready(port)[1].get("reasons") == [expected])
        assert sum("permissions violation" in line for line in process.lines) == 1
