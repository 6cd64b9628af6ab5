"""The worker's image alone, as in production: `docker run -d --network host worker-server`."""

import asyncio
import json
from collections.abc import Iterator

import pytest

from crypto_updates.local import ports
from crypto_updates.local.servers import NatsServer
from tests.compose.project import docker, must
from tests.support import ROOT, connect

pytestmark = pytest.mark.timeout(300)

IMAGE = "worker-server-test"
FAST = ("-e", "SCHEDULE=*/2 * * * * *", "-e", "MARKET_SOURCE=simulated")


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    must(docker("build", "-f", "worker/Dockerfile", "-t", IMAGE, ".", cwd=ROOT, timeout=240))
    yield IMAGE
    must(docker("rmi", "--force", IMAGE))


@pytest.mark.parametrize("jetstream", [True, False], ids=["jetstream", "core"])
async def test_its_events_reach_a_plain_subscriber_on_this_machine(image: str, *, jetstream: bool) -> None:
    if "Docker Desktop" in must(docker("info", "--format", "{{.OperatingSystem}}")):
        pytest.skip("the host network of Docker Desktop is not this machine's")
    with NatsServer(port=ports.free(4222), jetstream=jetstream) as server:
        client = await connect(server.url)
        subscription = await client.subscribe("crypto.updates")
        elsewhere = () if server.port == 4222 else ("-e", f"NATS_URL=nats://localhost:{server.port}")
        container = must(docker("run", "-d", "--network", "host", *elsewhere, *FAST, image)).strip()
        try:
            event = await subscription.next_msg(timeout=60)
            stopped = await asyncio.to_thread(docker, "stop", container)
            log = docker("logs", container)
        finally:
            must(docker("rm", "--force", container))
            await client.close()
    assert json.loads(event.data)["event"] == "CRYPTO_UPDATE"
    assert event.header
    assert event.header["Nats-Msg-Id"] == f"crypto@{json.loads(event.data)['timestamp']}"
    assert f"[NATS] Connected to nats://localhost:{server.port}" in log.stdout
    assert ("has no JetStream: using core NATS" in log.stdout) is not jetstream
    assert stopped.returncode == 0
