"""What `connect` prints, used as it is printed: the variables and the programs, against the stack's NATS."""

import asyncio
import os
import re
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path

import pytest

from crypto_updates.bus.stream import OWN_DURABLE, STREAM
from crypto_updates.local.process import Process
from stack import connect
from tests import node
from tests.e2e.security.conftest import ANONYMOUS, Bastion
from tests.support import HANG_SECONDS, ROOT, drained

EVENT = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'
Run = Callable[[str, str], Process]


@pytest.fixture
def run(
    bastion: Bastion, vault: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Starts the program that `connect` prints for a language, with the variables that it prints for a user."""
    monkeypatch.setattr(connect, "SECRETS", str(vault / "stack"))
    monkeypatch.setenv("NATS_PORT", str(bastion.server.port))

    def printed(*argv: str) -> str:
        assert connect.run(ArgumentParser(), list(argv)) == 0
        return capsys.readouterr().out

    def start(language: str, user: str) -> Process:
        parts = [dict(re.findall(r"^([A-Z_]+)=(.*)$", part, re.MULTILINE)) for part in printed().split("\n\n")]
        variables = next((part for part in parts if part.get("NATS_USER") == user), {"NATS_URL": bastion.server.url})
        program = printed(language)
        assert program in printed()
        (tmp_path / "program").write_text(program, encoding="utf-8")
        environ = os.environ | node.path() | variables
        if language == "nats.js":
            environ["NODE_PATH"] = str(node.install(ROOT / "tests" / "servers") / "node_modules")
        return Process(["node" if language == "nats.js" else sys.executable, str(tmp_path / "program")], env=environ)

    return start


@pytest.mark.parametrize("language", ["nats.js", "Python"])
@pytest.mark.parametrize(
    ("bastion", "user"), [("confined", "subscriber"), (ANONYMOUS, "anonymous")], indirect=["bastion"]
)
async def test_the_printed_program_hears_what_is_published(
    bastion: Bastion, run: Run, language: str, user: str
) -> None:
    admin, worker = await bastion.client("provision"), await bastion.client("worker")
    await bastion.restore(admin)
    program = await asyncio.to_thread(run, language, user)
    try:
        deadline = time.monotonic() + HANG_SECONDS
        while EVENT.decode() not in program.lines:  # it says nowhere when it has subscribed
            assert program.status is None, list(program.lines)
            assert time.monotonic() < deadline
            await worker.publish("crypto.updates", EVENT)
            await asyncio.sleep(0.1)
    finally:
        program.stop()


@pytest.mark.parametrize("language", ["nats.js", "Python"])
@pytest.mark.parametrize("bastion", ["confined"], indirect=True)
async def test_the_printed_program_misses_nothing_as_a_durable_consumer(
    bastion: Bastion, run: Run, language: str
) -> None:
    admin = await bastion.client("provision")
    await bastion.restore(admin)
    js = admin.jetstream()
    for number in range(2):
        await js.publish("crypto.updates", b"while it was away %d" % number)
        program = await asyncio.to_thread(run, language, OWN_DURABLE)
        try:
            await asyncio.to_thread(program.wait_for_line, f"while it was away {number}")
            await drained(js, OWN_DURABLE, HANG_SECONDS)
        finally:
            program.stop()
    assert list(program.lines) == ["while it was away 1"]
    assert (await js.consumer_info(STREAM, "api_stub")).num_pending == 5
