"""How a dead letter reads at a terminal."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stack.letters import letter
from stack.letters.replay import identity

LETTER: dict[str, Any] = {
    "_id": "CRYPTO#41@2023-11-21T14:30:02+00:00",
    "raw": b'{\r\n\t"event": "caf\xc3\xa9"}',
    "headers": {"Nats-Msg-Id": "crypto@2023-11-21T14:30:00Z"},
    "reason": "event: 'caf\u00e9' is not CRYPTO_UPDATE",
    "stream_seq": 41,
    "received_at": datetime(2023, 11, 21, 14, 30, 2, tzinfo=UTC),
}


def test_all_of_a_letter_is_shown() -> None:
    assert (
        "\n".join(letter.whole(LETTER, identity(LETTER)))
        == """\
id:           CRYPTO#41@2023-11-21T14:30:02+00:00
received at:  2023-11-21T14:30:02Z
stream seq:   41
reason:       event: 'caf\u00e9' is not CRYPTO_UPDATE
replayed as:  crypto@2023-11-21T14:30:00Z
headers:
  Nats-Msg-Id: crypto@2023-11-21T14:30:00Z
body, 21 bytes:
  {
  \t"event": "caf\u00e9"}"""
    )


def test_a_letter_of_core_nats_has_no_sequence_and_perhaps_no_headers() -> None:
    lines = list(letter.whole(LETTER | {"stream_seq": None, "headers": {}}, "x"))
    assert "stream seq:   none (core NATS)" in lines
    assert "headers:      none" in lines


def test_a_body_that_is_no_text_is_dumped() -> None:
    lines = list(letter.whole(LETTER | {"raw": bytes(range(0x6E, 0x82))}, "x"))
    assert lines[-2:] == [
        "  00000000  6e 6f 70 71 72 73 74 75 76 77 78 79 7a 7b 7c 7d  nopqrstuvwxyz{|}",
        "  00000010  7e 7f 80 81                                      ~...",
    ]


def test_a_line_has_the_time_the_id_the_size_and_the_reason() -> None:
    line = letter.summary(LETTER | {"size": 22})
    assert line == f"2023-11-21T14:30:02Z  {LETTER['_id']}       22 B  event: 'caf\u00e9' is not CRYPTO_UPDATE"


@pytest.mark.parametrize("body", [b"\x1b[2J", b"a\rb", b"\xff", b"\x00", "\u202eexe.png".encode(), b"\x9b1m", b"\x0c"])
def test_what_a_terminal_would_obey_is_no_text(body: bytes) -> None:
    assert letter.as_text(body) is None


@pytest.mark.parametrize("body", [b"", b"{}", "caf\u00e9 \u4e2d".encode(), b"a\nb\tc"])
def test_what_a_terminal_shows_is_text(body: bytes) -> None:
    assert letter.as_text(body) == body.decode()


hostile = st.text() | st.sampled_from(["\x1b]0;x\x07", "a\nid: forged", "\u202e", "\x9b2J"])


@given(
    body=st.binary() | hostile.map(lambda text: text.encode(errors="replace")),
    reason=hostile,
    name=hostile,
    value=hostile,
)
def test_nothing_of_a_letter_reaches_the_terminal_but_what_can_be_printed(
    body: bytes, reason: str, name: str, value: str
) -> None:
    hostile = LETTER | {"raw": body, "reason": reason, "headers": {name: value, "Nats-Msg-Id": value}, "size": 1}
    lines = [*letter.whole(hostile, identity(hostile)), letter.summary(hostile)]
    assert all(char.isprintable() or char == "\t" for line in lines for char in line)
    assert [line for line in lines if line.startswith("id:")] == lines[:1]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({"Nats-Msg-Id": "theirs"}, "theirs"), ({}, LETTER["_id"]), ({"Nats-Msg-Id": ""}, LETTER["_id"])],
)
def test_a_letter_is_replayed_under_the_id_that_its_event_would_have_had(
    headers: dict[str, str], expected: str
) -> None:
    assert identity(LETTER | {"headers": headers}) == expected
