"""The watchdog of the NATS container: it ends a server that is not healthy, for Docker to restart it."""

import asyncio
import contextlib
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.js.api import StreamConfig

from crypto_updates.local import ports
from crypto_updates.local.process import Process
from tests.chaos import client
from tests.chaos.disk import Disk
from tests.support import ROOT, eventually

pytestmark = pytest.mark.timeout(90)

CONFIG = """
listen: 127.0.0.1:{port}
http: 127.0.0.1:{health}
jetstream {{ store_dir: {folder}, sync_interval: always, max_file_store: 100MB }}
"""
WATCHDOG = ROOT / "nats" / "watchdog.py"
ENDING = "[WATCHDOG] Not healthy for 3 s: ending the server, for a restart"


class Watched:
    """A nats-server with its watchdog, that is started as the container's restart policy does."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.port, self._health, self._config = ports.free(), ports.free(), folder / "nats-server.conf"
        self._config.write_text(CONFIG.format(port=self.port, health=self._health, folder=str(data)), encoding="utf-8")
        self.url = f"nats://127.0.0.1:{self.port}"

    def start(self, patience: int = 3) -> Process:
        url = f"http://127.0.0.1:{self._health}/healthz"
        server = ("nats-server", "--config", str(self._config))
        path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        process = Process(
            [sys.executable, str(WATCHDOG), "--health", url, "--patience", str(patience), *server], env={"PATH": path}
        )
        assert eventually(self.is_healthy, 15), "\n".join(process.lines)
        return process

    def is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}/healthz", timeout=1):
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path, tmp_path / "data")


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Disk]:
    with Disk(tmp_path, megabytes=256) as disk:
        yield disk


async def publish(url: str, within: int) -> bool:
    """True once the stream, made if it is missing, has taken an event. `within`: seconds for each answer."""
    with contextlib.suppress(*client.LINK_ERRORS):
        nc = await client.connect(url, within=within)
        try:
            js = nc.jetstream(timeout=within)
            await js.add_stream(StreamConfig("CRYPTO", subjects=["crypto.updates"]))
            await js.publish("crypto.updates", b"x" * 1000)
            return True
        finally:
            await client.close(nc)
    return False


async def test_a_server_that_a_full_disk_has_wedged_works_again_after_the_restart(
    tmp_path: Path, full_disk: Disk
) -> None:
    watched = Watched(tmp_path, full_disk.path / "data")
    server = await asyncio.to_thread(watched.start)
    try:
        assert await publish(watched.url, 30)
        full_disk.fill()
        while await publish(watched.url, 1) or watched.is_healthy():
            pass
        full_disk.free()
        assert not await publish(watched.url, 1)  # there is room again, and it does not help
        await asyncio.to_thread(server.wait, 30)
        assert ENDING in server.lines
        server = await asyncio.to_thread(watched.start)
        assert await publish(watched.url, 30)
    finally:
        await asyncio.to_thread(server.stop)


def test_a_server_that_is_frozen_is_killed(watched: Watched) -> None:
    server = watched.start()
    server.kill(signal.SIGSTOP)
    assert server.wait(40) == -signal.SIGKILL
    assert ENDING in server.lines


def test_a_healthy_server_is_left_alone_and_ends_when_it_is_told_to(watched: Watched) -> None:
    server = watched.start(patience=10)
    assert not eventually(lambda: server.status is not None, 16)
    assert server.stop() == 0
    assert not any("[WATCHDOG]" in line for line in server.lines)
