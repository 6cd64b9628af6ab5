"""The arguments of the commands that ask a harness."""

import pytest

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
        (["market", "--ca", "nowhere/ca.pem"], "argument --ca: 'nowhere/ca.pem': accepted: a file in a folder"),
        (["market", "--ca", ""], "argument --ca: '': accepted: a file in a folder that is there"),
        (["market", "--port", "8000", "status", "500"], "--port and --ca are for a market that stands alone"),
        (["market", "--port", "0"], "argument --port: '0': accepted: a port from 1 to 65535"),
        (["wait", "rain"], "argument what: invalid choice: 'rain'"),
        (["harness", "--exec", "x", "--detach"], "argument --detach: not allowed with argument --exec"),
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
