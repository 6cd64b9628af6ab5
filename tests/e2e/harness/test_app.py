"""The server under test as a process."""

import re
import signal
import sys
import time
from pathlib import Path

import pytest

from crypto_updates.bus.event import SUBJECT
from crypto_updates.harness.app import AppError
from crypto_updates.harness.condition import eventually
from crypto_updates.harness.crypto import Crypto
from crypto_updates.local.errors import StackError
from tests.support import HANG_SECONDS, connect, processes, soon

LISTENER = (sys.executable, str(Path(__file__).with_name("listener.py")))
HTTP = """
import http.server, os, sys
port = int(sys.argv[1]) if len(sys.argv) > 1 else int(os.environ["PORT"])
server = http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.SimpleHTTPRequestHandler)
print("http server at work", flush=True)
print("listening on", port, flush=True)
server.serve_forever()
"""

# A subscriber that is up in no time.
PLAIN = """
import socket, sys
server = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
server.sendall(b"CONNECT {}\\r\\nSUB crypto.update 1\\r\\n")
while server.recv(4096): pass
"""


def test_a_server_that_ends_is_told_at_once_with_its_last_lines(crypto: Crypto) -> None:
    begin = time.monotonic()
    with pytest.raises(AppError, match=r"(?s)ended with status 3\) before it .* not connected .*\nno database$"):
        crypto.app("sh", "-c", "echo no database; exit 3", within=HANG_SECONDS)
    with pytest.raises(AppError, match=r"(?s)ended with status 127\).*not found"):
        crypto.app("no-such-command", within=HANG_SECONDS)
    assert time.monotonic() - begin < HANG_SECONDS / 2


def test_a_server_that_cannot_be_started_leaves_nothing_to_stop(crypto: Crypto, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        crypto.app("node", "server.js", cwd=tmp_path / "nowhere")


def test_a_server_on_another_subject_is_told_what_it_subscribed_to(crypto: Crypto) -> None:
    with pytest.raises(AppError, match=r"has not subscribed to crypto.updates; the subscriptions are: crypto.update;"):
        crypto.app(sys.executable, "-S", "-c", PLAIN, str(crypto.nats.port), within=15)
    # The first one still runs, and its subscription is not that of the second one.
    with pytest.raises(AppError, match=r"after 0\.5 s it has not connected to NATS"):
        crypto.app("sleep", "60", subscribes="crypto.update", within=0.5)
    assert crypto.app(*LISTENER, env={"SUBJECT": "crypto.*"}, subscribes="crypto.update").status is None


def test_the_api_stub_has_subscribed_when_it_listens_to_its_consumer(crypto: Crypto) -> None:
    app = crypto.app(sys.executable, "-m", "api_stub", ready="/readyz")
    crypto.publish()
    crypto.reactions.wait(1)
    assert app.get("/events").json()["events"]
    # A second one shares it, and is ready all the same.
    crypto.app(sys.executable, "-m", "api_stub", ready="/readyz")
    assert [found.consumer for found in crypto.subscribers()] == ["api_stub"]


async def test_a_consumer_that_another_server_listens_to_does_not_make_a_server_ready(crypto: Crypto) -> None:
    client = await connect(crypto.nats.url)
    try:
        await client.jetstream().subscribe(SUBJECT, "shared")
        await soon(crypto.subscribers)
        with pytest.raises(AppError, match=r"after 0\.5 s it has not connected to NATS"):
            crypto.app("sleep", "60", within=0.5)
    finally:
        await client.close()


@pytest.mark.parametrize("ready", ["/", "http server at", "listening on", re.compile(r"listening on \d+$")])
def test_it_is_ready_when_it_says_so(crypto: Crypto, ready: str | re.Pattern[str]) -> None:
    app = crypto.app(sys.executable, "-c", HTTP, ready=ready, subscribes=None)
    assert app.url == f"http://127.0.0.1:{crypto.env()['PORT']}"
    assert app.get("/").status == 200
    assert [app.get(path).status for path in ("?coin=polygon pos", "nothing", "/é b")] == [200, 404, 404]


def test_a_server_with_a_port_of_its_own_is_found_by_its_ready_url(crypto: Crypto) -> None:
    port = crypto.env()["PORT"]
    first = crypto.app(sys.executable, "-c", HTTP, port, ready="/", subscribes=None)
    with pytest.raises(AppError, match=rf"after 1 s it answered http://localhost:{port}/none with 404"):
        crypto.app("sleep", "60", ready=f"http://localhost:{port}/none", subscribes=None, within=1)
    first.stop()
    own = {"PORT": "1"}
    app = crypto.app(sys.executable, "-c", HTTP, port, env=own, ready=f"http://localhost:{port}/", subscribes=None)
    assert (app.url, app.get("/").status) == (f"http://localhost:{port}", 200)


def test_a_line_is_waited_for_behind_a_mark_also_over_a_restart(crypto: Crypto) -> None:
    app = crypto.app(*LISTENER)
    crypto.publish()
    assert app.wait_for_line("stored") == "stored"
    mark = app.mark
    with pytest.raises(StackError, match="wrote no line with 'stored'"):
        app.wait_for_line("stored", 0.2, after=mark)
    app.restart()
    crypto.publish()
    assert app.wait_for_line("stored", after=mark) == "stored"
    assert app.lines.count("stored") == 2


def test_signals_reach_all_processes_of_a_command_but_sigterm_the_first(crypto: Crypto) -> None:
    script = "trap 'echo told; exit 0' TERM; python3 -c 'import time; time.sleep(60)' & echo $!; echo up; wait"
    app = crypto.app("sh", "-c", script, ready="up", subscribes=None)
    child = int(app.lines[0])
    with app.freeze():
        eventually(lambda: state(child) == "T" and state(app.pid) == "T")
    eventually(lambda: state(child) == "S")
    assert app.stop() == 0
    assert app.lines[-1] == "told"
    eventually(lambda: child not in processes())
    app.restart()
    child = int(app.lines[-2])
    app.kill()
    assert app.status == -signal.SIGKILL
    eventually(lambda: child not in processes())


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][0]


def test_a_server_killed_and_restarted_has_its_port_again(crypto: Crypto) -> None:
    app = crypto.app(sys.executable, "-c", HTTP, ready="/", subscribes=None)
    url = app.url
    app.kill()
    with pytest.raises(ConnectionRefusedError):
        app.get("/")
    app.restart()
    assert (app.url, app.get("/").status) == (url, 200)
