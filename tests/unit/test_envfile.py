"""What a `.env` means. The values are those of `docker compose config` (2.26) for the same file."""

from pathlib import Path

import pytest

from crypto_updates.service.envfile import EnvFile

PROCESS = {"HOME": "/h", "EMPTY": ""}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".env"


def parsed(path: Path, content: str | bytes) -> EnvFile:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return EnvFile(path, PROCESS)


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X='pa${HOME}ss$$a'", "pa${HOME}ss$$a"),
        (r"X='it\'s a\\b\n'", r"it's a\\b\n"),
        ("X='a # b' # comment", "a # b"),
        ('X="pa${HOME}ss"', "pa/hss"),
        (r'X="\$HOME \\ \"q\"\n"', '$HOME \\ "q"\n'),
        ("X=\"'q'\"", "'q'"),
        ('X="two\nlines"', "two\nlines"),
        ("X=pa$HOME.ss", "pa/h.ss"),
        (r"X=a\nb\$HOME", r"a\nb\/h"),
        ("X=$$HOME$$$HOME", "$HOME$/h"),
        ("X=$(date) $1x 100% $", "$(date) $1x 100% $"),
        ("X=a#b # comment", "a#b"),
        ("X=${NOPE:-a$$b}${EMPTY:-d}${EMPTY-e}", "a$bd"),
        ("X=${NOPE:-${HOME}}", "/h"),
        ("X=${HOME:+yes}${NOPE:+no}${EMPTY+set}", "yesset"),
        ("X=${HOME?is needed}", "/h"),
        ("A=1\nX=${A}${HOME}}", "1/h}"),
        ('X={"a":"${HOME}"}', '{"a":"/h"}'),
        ("export X = 5", "5"),
        ("X=*/5 * * * *\r", "*/5 * * * *"),
        ("\ufeffX=1", "1"),
        ("X=", ""),
        ("X=''", ""),
    ],
)
def test_a_value_is_what_compose_makes_of_it(path: Path, line: str, value: str) -> None:
    file = parsed(path, f"{line}\n")
    assert (file.values["X"], file.problems, file.warnings) == (value, [], [])


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('# c\n\nSCHEDULE="*/5 * * * *\n', 3),
        ("SCHEDULE='*/5 * * * *", 1),
        ('A="x\nB="y"\n', 1),
        ('X="a" b', 1),
        ("A=1\n\n\nSCHEDULE */5 * * * *", 4),
        ("SCHEDULE", 1),
        ("SCHEDULE: 5", 1),
        ("!X=1", 1),
        ("\u200bX=1", 1),
        ("X=${", 1),
        ("X=${}", 1),
        ('X="${a b}"', 1),
        ("X=${EMPTY:?is needed}", 1),
        ("A=1\n# caf\xe9\n".encode("latin-1"), 2),
        ("A=1".encode("utf-16"), 1),
        ("A=1".encode("utf-16-le"), 1),
        ("A=1".encode("utf-32"), 1),
        (b"A=1\nB=\0", 2),
    ],
)
def test_a_line_that_cannot_be_read_is_told_with_its_number(path: Path, content: str | bytes, line: int) -> None:
    (problem,) = parsed(path, content).problems
    assert problem.startswith(f"`.env` line {line}: ")
    assert "accepted: " in problem or "EMPTY has no value: is needed" in problem


def test_no_line_tells_a_secret(path: Path) -> None:
    for content in ('NATS_PASSWORD="hunter2\n', "NATS_PASSWORD=${hunter2 }", "NATS_PASSWORD hunter2"):
        assert "hunter2" not in "".join(parsed(path, content).problems)


def test_the_other_lines_count_beside_a_bad_one(path: Path) -> None:
    file = parsed(path, 'A=1\nB="2\nC=3\n')
    assert (file.values, len(file.problems)) == ({"A": "1", "C": "3"}, 1)


def test_a_name_alone_is_the_variable_of_the_process(path: Path) -> None:
    file = parsed(path, "HOME\nA=1\nexport A\n")
    assert (file.values, file.problems) == ({"A": "1"}, [])


def test_a_variable_that_stands_for_nothing_is_warned_about(path: Path) -> None:
    file = parsed(path, "\nNATS_PASSWORD=pa$word\n")
    assert file.values == {"NATS_PASSWORD": "pa"}
    (warning,) = file.warnings
    assert warning.startswith("`.env` line 2: $word is not set and stands for nothing; for a dollar sign, write $$")


def test_a_missing_file_has_no_variables(path: Path) -> None:
    file = EnvFile(path, PROCESS)
    assert (file.values, file.problems) == ({}, [])


def test_a_link_that_leads_nowhere_is_told(path: Path) -> None:
    path.symlink_to("nowhere")
    (problem,) = EnvFile(path, PROCESS).problems
    assert problem.startswith("`.env`: No such file or directory; accepted: ")


def test_a_file_that_cannot_be_read_is_told(path: Path) -> None:
    path.mkdir()
    assert EnvFile(path, PROCESS).problems == ["`.env`: Is a directory; accepted: a UTF-8 file that this user can read"]
