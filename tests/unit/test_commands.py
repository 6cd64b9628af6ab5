"""The arguments of the commands that ask a harness."""

import pytest

from stack import console, control
from stack.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["publish", "--slot", "now"], "argument --slot: not an ISO 8601 time"),
        (["publish", "--copies", "0"], "argument --copies: '0': accepted: a whole number from 1"),
        (["publish", "--body", "nowhere"], "argument --body: 'nowhere': No such file or directory; accepted: "),
        (["publish", "--subject", "a.>"], "argument --subject: 'a.>': accepted: a subject without wildcards"),
        (["market", "set", "bitcoin"], "argument COIN=PRICE: 'bitcoin': accepted: COIN=PRICE, such as"),
        (["market", "delay", "x"], "argument SECONDS: 'x': accepted: seconds, or never"),
        (["market", "set", "bitcoin=nan"], "argument COIN=PRICE: 'bitcoin=nan': accepted: COIN=PRICE, such as"),
        (["market", "delay", "-1"], "argument SECONDS: '-1': accepted: seconds, or never"),
        (["market", "--ca", "nowhere/ca.pem"], "argument --ca: 'nowhere/ca.pem': No such file or directory; acce"),
        (["market", "--ca", ""], "argument --ca: '': Is a directory; accepted: a file that can be"),
        (["market", "--port", "8000", "status", "500"], "--port and --ca are for a market that stands alone"),
        (["market", "--port", "0"], "argument --port: '0': accepted: a port from 1 to 65535"),
        (["wait", "rain"], "argument what: invalid choice: 'rain'"),
        (["harness", "--exec", "x", "--detach"], "argument --detach: not allowed with argument --exec"),
        (["harness", "--exec", " "], "argument --exec: ' ': accepted: a command for a shell"),
        (["harness", "--host", "localhost"], "argument --host: invalid choice: 'localhost'"),
        (
            ["harness", "--port", "1", "--nats-port", "2", "--market-port", "1"],
            "--port 1, --market-port 1: accepted: a port of its own for each",
        ),
        (["harness", "--port", "x"], "argument --port: 'x': accepted: "),
    ],
)
def test_a_command_says_what_it_cannot_read(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("command", ["validate -", "publish", "wait published", "market status 429", "fault nats down"])
def test_ctrl_c_ends_a_command_without_a_traceback(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(console, "content", interrupt)
    monkeypatch.setattr(control, "ask", interrupt)
    monkeypatch.setenv(control.VARIABLE, control.DEFAULT_URL)
    assert main(command.split()) == 130
