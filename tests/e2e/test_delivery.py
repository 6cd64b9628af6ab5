"""What a subscriber on crypto.updates sees of the worker, and how a service bears servers that fail."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
from nats.aio.client import Client

from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.errors import UnreachableError
from crypto_updates.harness.plugin import Service
from crypto_updates.local.servers import NatsServer
from tests.e2e.conftest import Stack
from tests.support import HANG_SECONDS, ROOT, connect, eventually, listening, settled, soon

SLOT = "2023-11-21T14:30:00Z"
BARE = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'


async def test_a_core_subscriber_sees_the_exact_bytes_and_the_stream_keeps_one(stack: Stack, publisher: Client) -> None:
    subscription = await publisher.subscribe("crypto.updates")
    await settled(publisher)
    for said in ("[PUBLISH] Sent crypto.update event at 14:30:00", "[PUBLISH] The stream has the crypto.update event"):
        worker = stack.worker("--once", "--slot", SLOT, MARKET_SOURCE="none")
        assert worker.wait() == 0
        assert worker.wait_for_line(said)
    message = await subscription.next_msg(5)
    assert message.data == BARE
    assert message.headers is not None
    assert message.headers["Nats-Msg-Id"] == message.headers["ce-id"] == f"crypto@{SLOT}"
    assert message.headers["ce-type"] == "CRYPTO_UPDATE"
    assert (await publisher.jetstream().stream_info("CRYPTO")).state.messages == 1


def test_once_gives_up_when_no_server_answers(service: Service) -> None:
    worker = service("worker", "--once", NATS_URL="nats://127.0.0.1:1", MARKET_SOURCE="none")
    assert worker.wait(45) == 1
    assert worker.wait_for_line("[PUBLISH] Not sent: CONNECTION_REFUSED nats://127.0.0.1:1: verify")


def test_a_password_in_the_url_never_reaches_the_log(service: Service) -> None:
    worker = service("worker", NATS_URL="nats://me:hush@127.0.0.1:1", NATS_PASSWORD="hush2", LOG_LEVEL="debug")
    worker.wait_for_line("CONNECTION_REFUSED nats://***@127.0.0.1:1")
    assert not any("hush" in line for line in worker.lines)


def test_a_wrong_password_is_told_as_such(service: Service) -> None:
    with NatsServer(jetstream=False, config='authorization { user: "u", password: "right" }') as server:
        worker = service("worker", NATS_URL=server.url, NATS_USER="u", NATS_PASSWORD="wrong", MARKET_SOURCE="none")
        worker.wait_for_line(f"[NATS] AUTHORIZATION_VIOLATION {server.url}: verify NATS_USER")


@pytest.mark.parametrize(
    ("rule", "given"),
    [('user: "w", password: "p@ss/w#rd"', "w:p%40ss%2Fw%23rd"), ('token: "t:k@n"', "t%3Ak%40n")],
    ids=["user and password", "token"],
)
def test_a_login_in_the_url_is_decoded_and_stays_out_of_the_log(service: Service, rule: str, given: str) -> None:
    with NatsServer(config=f"authorization {{ {rule} }}") as server:
        url = server.url.replace("://", f"://{given}@")
        worker = service("worker", "--once", NATS_URL=url, MARKET_SOURCE="none", LOG_LEVEL="debug")
        assert worker.wait() == 0
    assert not any(secret in line for line in worker.lines for secret in ("ss/w", "ss%2Fw", "k@n", "k%40n"))


async def test_an_event_past_max_payload_goes_out_in_parts(stack: Stack) -> None:
    with NatsServer(config="max_payload: 4096\n") as server:
        worker = stack.worker(
            *("--once", "--slot", SLOT), NATS_URL=server.url, COINS=",".join(f"coin-{n}" for n in range(100))
        )
        assert worker.wait() == 0
        client = await connect(server.url)
        js = client.jetstream()
        count = (await js.stream_info("CRYPTO")).state.messages
        messages = [await js.get_msg("CRYPTO", seq) for seq in range(1, count + 1)]
        await client.close()
    ids = [(message.headers or {})["Nats-Msg-Id"] for message in messages]
    assert ids == [f"crypto@{SLOT}#{part}" for part in range(1, count + 1)]
    assert len({(message.headers or {})["traceparent"] for message in messages}) == 1
    coins = [quote["coin"] for message in messages for quote in json.loads(message.data or b"")["data"]]
    assert coins == [f"coin-{n}" for n in range(100)]


@pytest.mark.parametrize(
    ("module", "environ", "lines"),
    [
        ("worker", {"SCHEDULE": "*/15 * * *", "NATS_URL": "foo", "COINS": ""}, ["NATS_URL=foo", "SCHEDULE=", "COINS="]),
        ("api_stub", {"BATCH_SIZE": "0", "MONGO_URL": "x"}, ["MONGO_URL=x", "BATCH_SIZE=0"]),
    ],
)
def test_bad_configuration_exits_2_with_a_line_for_each(
    module: str, environ: dict[str, str], lines: list[str], tmp_path: Path
) -> None:
    root = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module], env=root | environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    told = done.stderr.splitlines()
    assert all(line.startswith(start) and "accepted: " in line for line, start in zip(told, lines, strict=True))


def test_sigterm_is_obeyed_while_the_service_is_connecting(service: Service) -> None:
    with NatsServer() as server:
        for _ in range(5):
            worker = service("worker", NATS_URL=server.url, MARKET_SOURCE="none")
            worker.wait_for_line("[CRON]")
            assert worker.stop() == 0


@pytest.mark.parametrize("command", [("worker", "--once"), ("stack", "provision")])
def test_a_one_shot_that_is_stopped_does_not_claim_success(service: Service, command: tuple[str, ...]) -> None:
    process = service(*command, NATS_URL="nats://127.0.0.1:1", MONGO_URL="mongodb://127.0.0.1:1", MARKET_SOURCE="none")
    assert not eventually(lambda: process.status is not None, 1.5)
    assert process.stop() != 0


def test_two_servers_that_are_both_away_are_told_once_each(service: Service) -> None:
    worker = service("worker", NATS_URL="nats://127.0.0.1:1,nats://127.0.0.1:2", MARKET_SOURCE="none")
    worker.wait_for_line("CONNECTION_REFUSED nats://127.0.0.1:2")
    assert not eventually(lambda: sum("CONNECTION_REFUSED" in line for line in worker.lines) > 2, 6)


async def test_the_services_of_a_cluster_do_not_all_begin_with_its_first_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("crypto_updates.bus.client.secrets.randbelow", lambda _: 1)
    settings = BusSettings.load({"NATS_URL": "nats://127.0.0.1:1,nats://127.0.0.1:2"})
    async with Bus(settings, "test"):
        assert await soon(lambda: caplog.messages)
    assert "CONNECTION_REFUSED nats://127.0.0.1:2" in caplog.messages[0]


async def test_a_server_that_closes_every_connection_is_not_hammered(service: Service) -> None:
    connections = 0

    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(b'INFO {"server_id":"x","version":"2.10.0","proto":1,"headers":true,"max_payload":1048576}\r\n')
        await reader.readuntil(b"PING\r\n")
        writer.write(b"PONG\r\n-ERR 'Authentication Timeout'\r\n")

    async with listening(close) as port:
        url = f"nats://127.0.0.1:{port}"
        worker = service("worker", NATS_URL=url, DELIVERY="core", MARKET_SOURCE="none")
        assert await asyncio.to_thread(eventually, lambda: connections >= 2)
        assert not await asyncio.to_thread(eventually, lambda: connections > 5, 4)
        assert worker.status is None


async def test_a_connection_that_is_lost_is_not_given_out_again() -> None:
    with NatsServer() as server:
        async with Bus(BusSettings.load({"NATS_URL": server.url}), "test") as bus:
            lost = await bus.connection(HANG_SECONDS)
            lost.abandon("the test says so")
            # Within less than the pause before the next connection.
            assert await asyncio.to_thread(eventually, lambda: bus._connection is None, 1)
            with pytest.raises(UnreachableError):
                await bus.connection(0.05)
            assert await bus.connection(HANG_SECONDS) is not lost
