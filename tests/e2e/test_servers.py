"""The stack's servers and processes, against the real binaries."""

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from pymongo import MongoClient

from crypto_updates.harness import monitor
from crypto_updates.local import binaries, guard, ports
from crypto_updates.local.errors import BinaryError, PortTakenError, StackError
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer, Server
from tests.support import HANG_SECONDS, ROOT, connect, eventually, processes

MONGO_LOADER = "mongod: error while loading shared libraries: libcrypto.so.1.1: cannot open shared object file"
GLIBC_LOADER = "mongod: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by mongod)"

# Says what it has started, and then waits to be killed.
PARENT = """
import sys, time
from crypto_updates.local.servers import Mongod, NatsServer
with NatsServer() as nats, Mongod() as mongo:
    print(nats.pid, mongo.pid, nats.data, mongo.data, flush=True)
    time.sleep(60)
"""


def runs(pid: int) -> bool:
    return pid in processes()


def ended(pid: int) -> bool:
    return not runs(pid)


def a_binary(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one folder where binaries are looked for."""
    with guard.folder():
        pass  # the guardian runs from here on, as it could not without this Python
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(binaries, "_MONGOD_WHEELS", ())
    return tmp_path


async def test_it_keeps_a_stream_over_a_kill_and_restart_on_the_same_port() -> None:
    with NatsServer() as server:
        url, pid = server.url, server.pid
        client = await connect(url)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept"])
        await client.jetstream().publish("kept", b"1")
        await client.close()
        server.kill()
        server.restart()
        assert (server.url, server.pid != pid) == (url, True)
        client = await connect(url)
        assert (await client.jetstream().stream_info("KEPT")).state.messages == 1
        await client.close()


def test_it_keeps_a_document_over_a_kill_and_restart_on_the_same_port() -> None:
    with Mongod() as server, MongoClient[dict[str, int]](server.url) as client:
        client.kept.events.insert_one({"_id": 1})
        server.kill()
        server.restart()
        assert client.kept.events.find_one() == {"_id": 1}
        assert client.admin.command("hello")["setName"] == "rs0"


def test_it_serves_kept_data_on_another_port(tmp_path: Path) -> None:
    for count in (0, 1):
        with Mongod(tmp_path, port=ports.free()) as server, MongoClient[dict[str, int]](server.url) as client:
            assert client.kept.events.count_documents({}) == count
            client.kept.events.insert_one({"_id": count})


async def test_it_has_no_jetstream_when_none_is_asked_for() -> None:
    with NatsServer(jetstream=False) as server:
        client = await connect(server.url)
        assert not client._server_info.get("jetstream")
        await client.close()


async def test_it_takes_lines_of_configuration() -> None:
    with NatsServer(config="max_payload: 4KB") as server:
        client = await connect(server.url)
        assert client.max_payload == 4096
        await client.close()


def test_it_freezes_and_thaws_a_server() -> None:
    with NatsServer() as server:
        server.kill(signal.SIGSTOP)
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.settimeout(0.3)
            with pytest.raises(TimeoutError):
                connection.recv(4)
            server.kill(signal.SIGCONT)
            connection.settimeout(5)
            assert connection.recv(4) == b"INFO"


def answers(server: Server, within: float = HANG_SECONDS) -> bool:
    with socket.create_connection(("127.0.0.1", server.port), timeout=within) as connection:
        try:
            return connection.recv(4) == b"INFO"
        except TimeoutError:
            return False


def test_a_server_is_frozen_or_down_for_as_long_as_a_with_statement_lasts() -> None:
    with NatsServer() as server:
        with server.freeze():
            assert not answers(server, within=0.3)
        assert answers(server)
        with server.down():
            assert server.status == -signal.SIGKILL
            with pytest.raises(ConnectionRefusedError):
                answers(server)
        assert answers(server)


def test_a_server_that_is_down_for_some_seconds_is_up_again_afterwards() -> None:
    with NatsServer() as server:
        pid, begin = server.pid, time.monotonic()
        server.down(0.3)
        assert time.monotonic() - begin >= 0.3
        assert (answers(server), server.pid != pid) == (True, True)


def test_a_server_is_mended_only_if_it_is_broken() -> None:
    with NatsServer() as server:
        pid = server.pid
        server.mend()
        assert server.pid == pid
        server.freeze()
        server.mend()
        assert (answers(server), server.pid) == (True, pid)
        server.kill()
        server.mend()
        assert answers(server)


def offer(monkeypatch: pytest.MonkeyPatch, *first: int) -> None:
    """Have these ports taken for free ones, and then others that are."""
    free, offered = ports.free, iter(first)
    monkeypatch.setattr(ports, "free", lambda: next(offered, 0) or free())


@pytest.mark.parametrize("kind", [NatsServer, Mongod])
def test_it_tries_another_port_when_someone_was_quicker(kind: type[Server], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        taken = quicker.getsockname()[1]
        offer(monkeypatch, taken)
        with kind() as server:
            assert server.port != taken


def test_it_tries_another_port_for_its_monitoring_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        offer(monkeypatch, ports.free(), quicker.getsockname()[1])
        with NatsServer() as server:
            assert monitor.subscriptions(server) == []
            assert not server.monitor_url.endswith(f":{quicker.getsockname()[1]}")


def test_it_is_not_fooled_by_another_server_on_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with NatsServer() as other:
        offer(monkeypatch, other.port)
        with NatsServer() as server:
            assert server.port != other.port


@pytest.mark.parametrize("kind", [NatsServer, Mongod])
def test_it_names_the_port_that_is_in_use(kind: type[Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"127\.0\.0\.1:{port}: .*in use"), kind(port=port):
            pass


def test_it_prefers_a_binary_on_the_path(only: Path) -> None:
    a_binary(only, "nats-server", "exit 0")
    assert binaries.find("nats-server") == str(only / "nats-server")


@pytest.mark.parametrize("kind", [NatsServer, Mongod])
def test_it_says_what_to_install_when_a_binary_is_missing(kind: type[Server], only: Path) -> None:
    assert only.exists()
    with pytest.raises(BinaryError, match=rf"{kind.name} was not found: .*crypto-updates\[local\]"), kind():
        pass


@pytest.mark.parametrize(("message", "what"), [(MONGO_LOADER, "libcrypto.so.1.1"), (GLIBC_LOADER, "GLIBC_2.34")])
def test_it_names_the_missing_library_and_the_way_out(only: Path, message: str, what: str) -> None:
    a_binary(only, "mongod", f"echo {shlex.quote(message)} >&2\nexit 127")
    expected = rf"mongod cannot start: {re.escape(what)} is missing .* install .* PATH, or run `docker compose up`"
    with pytest.raises(BinaryError, match=expected), Mongod():
        pass


def test_it_shows_the_errors_of_a_server_that_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="status 1 before it answered"), NatsServer(tmp_path, config="no_such: {"):
        pass


def test_it_leaves_no_process_and_no_folder() -> None:
    with NatsServer() as server:
        pid, data = server.pid, server.data
        assert runs(pid)
    assert not runs(pid)
    assert not data.exists()


@pytest.mark.usefixtures("mongod")  # skipped where none can run
@pytest.mark.parametrize("frozen", [False, True])
def test_sigkill_of_the_parent_leaves_no_child_and_no_folder(*, frozen: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        words = parent.stdout.readline().split()
        pids, folders = [int(word) for word in words[:2]], [Path(word) for word in words[2:]]
        assert [runs(pid) for pid in pids] == [True, True]
        assert all(map(Path.exists, folders))
        if frozen:
            os.kill(pids[0], signal.SIGSTOP)
        parent.kill()
    assert eventually(lambda: not any(map(runs, pids)) and not any(map(Path.exists, folders)))


def test_a_child_is_known_to_the_guardian_before_its_program_starts() -> None:
    script = (
        "import os, sys\nfrom crypto_updates.local import guard\n"
        "child = guard.spawn(['/bin/sleep', '600'])\nprint(child.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    for _ in range(10):
        result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
        assert eventually(partial(ended, int(result.stdout)))


def test_it_ends_what_its_child_has_started() -> None:
    process = Process(["/bin/sh", "-c", "sleep 600 & echo $!; wait"])
    pid = int(process.wait_for_line(re.compile(r"^\d+$")))
    assert runs(pid)
    assert process.stop() == -signal.SIGTERM
    assert eventually(partial(ended, pid))


def test_what_a_process_left_running_ends_when_somebody_waits_for_it() -> None:
    process = Process(["/bin/sh", "-c", "sleep 600 & echo $!; exit 3"])
    pid = int(process.wait_for_line(re.compile(r"^\d+$")))
    assert process.wait() == 3
    assert eventually(partial(ended, pid), 5)


def test_a_folder_goes_with_its_block() -> None:
    with guard.folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_no_port_is_given_out_twice() -> None:
    wanted = ports.free()
    script = f"from crypto_updates.local import ports; print(ports.free({wanted}))"
    elsewhere = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert wanted not in (ports.free(wanted), int(elsewhere.stdout))
    ports.release(wanted)
    assert ports.free(wanted) == wanted
