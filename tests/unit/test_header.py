"""The headers of a message as the server reads them."""

import pytest
from nats.aio.client import Client

from crypto_updates.bus.header import parse


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["a: b", "c:d"], {"a": "b", "c": "d"}),
        (["Nats-Msg-Id: one", "Nats-Msg-Id: two"], {"Nats-Msg-Id": "one"}),
        (["Nats-Msg-Id:", "Nats-Msg-Id: two"], {"Nats-Msg-Id": ""}),
        (["nats-msg-id: one", "Nats-Msg-Id: two"], {"nats-msg-id": "one", "Nats-Msg-Id": "two"}),
        (["Nats-Msg-Id:   a: b\t "], {"Nats-Msg-Id": "a: b\t "}),
        (["x: é", "no colon", ""], {"x": "é"}),
        ([], {}),
    ],
)
def test_the_first_of_a_name_is_kept_to_the_letter(lines: list[str], expected: dict[str, str]) -> None:
    assert parse("\r\n".join(["NATS/1.0", *lines, "", ""]).encode()) == expected


def test_what_is_not_utf_8_is_replaced() -> None:
    assert parse(b"NATS/1.0\r\nx: \xff\r\n\xfe: y\r\n\r\n") == {"x": "\ufffd", "\ufffd": "y"}


@pytest.mark.parametrize(
    "block",
    [
        b"NATS/1.0 503\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1016\r\nNats-Last-Stream: 1024\r\n\r\n",
        b"NATS/1.0 409 Message Size Exceeds MaxBytes\r\nNats-Pending-Messages: 1\r\nNats-Pending-Bytes: 0\r\n\r\n",
    ],
)
async def test_a_status_of_the_server_reads_as_in_nats_py(block: bytes) -> None:
    theirs = await Client()._process_headers(block)
    assert parse(block) == {str(getattr(name, "value", name)): value for name, value in (theirs or {}).items()}


@pytest.mark.parametrize("first", [b"NATS/1.0 \xff\xff\xff", b"NATS/1.0 soon", b"\xff", b""])
def test_no_first_line_breaks_it(first: bytes) -> None:
    assert parse(first + b"\r\nx: y\r\n\r\n") == {"x": "y"}
