"""`crypto-updates fault`, and how a command finds the control port."""

import http.server
import threading
from collections.abc import Callable, Iterator

import pytest

from crypto_updates.harness.control import faults
from crypto_updates.harness.control.faults import Fault, Target
from crypto_updates.harness.control.server import serve
from crypto_updates.local import ports
from crypto_updates.local.errors import StackError
from stack import control
from stack.__main__ import main
from tests.support import HANG_SECONDS

# Runs a command, and returns its status and what it wrote.
Shell = Callable[..., tuple[int, str]]


def broken() -> None:
    raise StackError("nats-server: the port is in use")


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    def run(*arguments: str) -> tuple[int, str]:
        status = main([*arguments])
        captured = capsys.readouterr()
        return status, captured.err if status else captured.out

    return run


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What was done to a link behind the control port that the commands find."""
    done: list[object] = []
    slow = Fault(lambda **options: done.append(options), lambda: done.append("over"), ("delay", "size"))
    link = Target("link", {"slow": slow, "break": Fault(broken)}, str)
    with serve("Test", faults.router({"link": link}), port=0) as url:
        monkeypatch.setenv("HARNESS_URL", url)
        yield done


def test_it_returns_when_the_fault_is_over(done: list[object], shell: Shell) -> None:
    assert shell("fault", "link", "slow", "0.01", "--delay", "0.5") == (0, "")
    assert done == [{"delay": 0.5}, "over"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("", (0, "link        slow break\n")),
        ("moon slow", (1, "target=moon: one of link\n")),
        ("m\u00e5ne%2e? slow", (1, "target=m\u00e5ne%2e?: one of link\n")),
        ("\udcff slow", (1, "target=?: one of link\n")),
        ("link melt", (1, "fault=melt: one of slow, break\n")),
        (
            "link \udcff",
            (1, "body={'fault': '\\udcff'}: JSON of some hundred levels at most, and no half of a surrogate pair\n"),
        ),
        ("link slow nan", (1, "seconds=nan: Input should be a finite number\n")),
        ("link break", (1, "nats-server: the port is in use\n")),
    ],
)
@pytest.mark.usefixtures("done")
def test_it_says_what_there_is_and_what_cannot_be_done(shell: Shell, arguments: str, told: tuple[int, str]) -> None:
    assert shell("fault", *arguments.split()) == told


@pytest.mark.parametrize("arguments", ["link", "link slow x", "link slow 1 --size 0.5"])
def test_it_says_what_it_cannot_read(capsys: pytest.CaptureFixture[str], arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fault", *arguments.split()])
    assert ended.value.code == 2
    assert "error: " in capsys.readouterr().err


BAD_URLS = ["localhost:4270", "https://localhost:4270", "http://localhost:x", "http://", "http://a..b:4270"]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_wrong_url_is_named(monkeypatch: pytest.MonkeyPatch, shell: Shell, url: str) -> None:
    monkeypatch.setenv("HARNESS_URL", url)
    assert shell("fault") == (1, f"HARNESS_URL={url}: accepted: http://HOST:PORT\n")


@pytest.mark.parametrize(
    ("command", "start"),
    [
        ("fault", "`crypto-updates harness` or `crypto-updates demo`"),
        ("fault nats down", "`crypto-updates harness` or `crypto-updates demo`"),
        ("market status 500", "`crypto-updates harness` or `crypto-updates market`"),
        ("wait published", "`crypto-updates harness`"),
    ],
)
def test_where_nobody_listens_it_says_what_to_start(
    monkeypatch: pytest.MonkeyPatch, shell: Shell, command: str, start: str
) -> None:
    url = f"http://127.0.0.1:{ports.free()}"
    monkeypatch.setenv("HARNESS_URL", url)
    assert shell(*command.split()) == (1, f"{url}: Connection refused: start {start} first. {control.HOW}\n")


class Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Write no access log."""


def test_another_server_is_not_taken_for_it(monkeypatch: pytest.MonkeyPatch, shell: Shell) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.handle_request)
        thread.start()
        url = f"http://127.0.0.1:{other.server_port}"
        monkeypatch.setenv("HARNESS_URL", url)
        status, told = shell("fault")
        thread.join(HANG_SECONDS)
    assert status == 1
    assert told.startswith(f"{url}/faults: not a control port: it answered '<!")
