"""`crypto-updates validate`: whether the API stub would store a body, and why not."""

import io
from pathlib import Path

import pytest

from stack.__main__ import main

BARE = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T15:30:00.1239+01:00"}'
TIMESTAMP = "an event: timestamp 2023-11-21T14:30:00.123000Z"
KEY = "crypto@2023-11-21T14:30:00Z"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good").write_bytes(BARE)
    (tmp_path / "bad").write_bytes(b"not json")
    return tmp_path


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("headers", "identity"),
    [
        ([], "its place in the stream"),
        ([f"Nats-Msg-Id: {KEY}", "Nats-Msg-Id: second", "ce-id: 7", "ce-source: /shop"], KEY),
        (["ce-id:7", "ce-source:/shop"], "ce:/shop#7"),
    ],
)
def test_it_says_the_timestamp_and_the_id(
    headers: list[str], identity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [word for text in headers for word in ("--header", text)]
    assert main(["validate", *options, "good"]) == 0
    assert capsys.readouterr().out == f"good: {TIMESTAMP}, id {identity}\n"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "body: not JSON: Input data was truncated"),
        (b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}', "timestamp: not an ISO 8601 time"),
        (BARE[:-1] + b',"x":9223372036854775808}', "x: not storable: 9223372036854775808 has more than 64 bits"),
        (BARE[:-1] + b',"\\u001b\\u0000":1}', r"body: not storable: the key '\x1b\x00' has a NUL"),
        (b'{"trigger":"update"}', "event: None is not CRYPTO_UPDATE"),
    ],
)
def test_it_says_the_reason_that_a_dead_letter_would_have(
    folder: Path, body: bytes, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "body").write_bytes(body)
    assert main(["validate", "body"]) == 1
    assert capsys.readouterr().out == f"body: not an event: {reason}\n"


def test_the_headers_decide_how_a_body_is_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "wrapped").write_bytes(b'{"specversion":"1.0","type":"x","source":"/shop","id":"7","data":' + BARE + b"}")
    assert main(["validate", "wrapped"]) == 1
    assert "needs Content-Type: application/cloudevents+json" in capsys.readouterr().out
    assert main(["validate", "wrapped", "--header", "content-type: application/cloudevents+json"]) == 0
    assert capsys.readouterr().out == f"wrapped: {TIMESTAMP}, id ce:/shop#7\n"
    assert main(["validate", "good", "--header", f"Nats-Msg-Id: {'x' * 2049}"]) == 1
    assert "id: 2049 bytes, more than 2048" in capsys.readouterr().out


@pytest.mark.usefixtures("folder")
def test_one_body_of_many_that_is_no_event_gives_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(BARE)))
    assert main(["validate", "good", "bad", "-"]) == 1
    assert [line.split(": ")[:2] for line in capsys.readouterr().out.splitlines()] == [
        ["good", "an event"],
        ["bad", "not an event"],
        ["-", "an event"],
    ]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "required: FILE"),
        (["good", "absent"], "'absent': No such file or directory"),
        (["."], "'.': Is a directory"),
        (["-", "-"], "- is given twice"),
        (["good", "--header", "Nats-Msg-Id"], "'Nats-Msg-Id': accepted: NAME: VALUE"),
        (["good", "--header", "a: b\r\nc: d"], "accepted: NAME: VALUE"),
    ],
)
def test_bad_use_gives_status_2_and_says_what_is_accepted(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["validate", *arguments])
    assert ended.value.code == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert problem in told.err
