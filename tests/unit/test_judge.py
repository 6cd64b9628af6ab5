"""What `check-server` cannot use, it says before it starts anything."""

from pathlib import Path

import pytest

from stack.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "rain", "--", "node"], "argument --only: 'rain': accepted: text of an item's name; --list shows"),
        (["--only", "", "--", "node"], "argument --only: '': accepted: text of an item's name"),
        (["--quick", "--only", "60 s", "--", "node"], "argument --only: '60 s': accepted: text of an item's name; --q"),
        (["--env", "PORT", "--", "node"], "argument --env: 'PORT': accepted: NAME=VALUE"),
        (["--env", "=3000", "--", "node"], "argument --env: '=3000': accepted: NAME=VALUE"),
        (["--cwd", "nowhere", "--", "node"], "argument --cwd: 'nowhere': accepted: a folder"),
        (["--cwd", __file__, "--", "node"], "accepted: a folder"),
        (["--subject", "a.>", "--", "node"], "argument --subject: 'a.>': accepted: a subject without wildcards"),
        (["--subject", "x" * 5000, "--", "node"], "accepted: a subject without wildcards"),
        (["--subject", "", "--", "node"], "argument --subject: '': accepted: a subject without wildcards"),
        (["--probe", "localhost:3000", "--", "node"], "argument --probe: 'localhost:3000': accepted: http://host:port/path"),
        (["--probe", "http://localhost:x/", "--", "node"], "accepted: http://host:port/path"),
        (["--probe", "http://localhost:65536/", "--", "node"], "accepted: http://host:port/path"),
        (["--probe", "http://[::1/", "--", "node"], "argument --probe: 'http://[::1/': accepted: http://host"),
        (["--junit", "no/folder.xml", "--", "node"], "argument --junit: 'no/folder.xml': No such file or dir"),
        (["--junit", "", "--", "node"], "argument --junit: '': Is a directory; accepted: a file that can be written"),
        (["--env"], "argument --env: expected one argument"),
        ([], "the server's command is missing: crypto-updates check-server -- node server.js"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named_with_its_value_and_what_is_accepted(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["check-server", *arguments])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_a_report_is_not_made_before_there_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "verdict.xml"
    assert main(["check-server", "--junit", str(report), "--quick", "--only", "NATS down", "--list"]) == 0
    assert [line.partition("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["NATS down 3 s"]
    assert not report.exists()
