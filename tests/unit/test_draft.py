"""What a publish by hand sends."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from crypto_updates.bus import event, message, trace
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.harness.bodies import INVALID
from crypto_updates.harness.draft import Drafts

SLOT = "2023-11-21T14:30:00Z"
EVENT = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'


@pytest.mark.parametrize("slot", [SLOT, "2023-11-21T15:30+01:00", datetime(2023, 11, 21, 14, 30, tzinfo=UTC)])
def test_an_event_is_that_of_the_worker_byte_for_byte(slot: str | datetime) -> None:
    draft = Drafts().make(slot)
    assert draft.body == EVENT
    at, traceparent = datetime(2023, 11, 21, 14, 30, tzinfo=UTC), trace.given(draft.headers)
    assert traceparent
    assert draft.headers == event.headers("crypto", at, f"crypto@{SLOT}", traceparent)


def test_fields_are_more_keys_of_the_event() -> None:
    body = Drafts().make(SLOT, fields={"source": "mine", "data": [{"price": 1.5}]}).body
    assert body == EVENT[:-1] + b',"source":"mine","data":[{"price":1.5}]}'


def test_events_without_a_slot_have_one_each_near_to_now() -> None:
    drafts, begin = Drafts(), datetime.now(UTC)
    slots = [event.parse(drafts.make().body)["timestamp"] for _ in range(5)]
    assert all(later > earlier for earlier, later in pairwise(slots))
    assert abs((slots[0] - begin).total_seconds()) < 5


@pytest.mark.parametrize(
    ("body", "sent"),
    [(b"\xff", b"\xff"), ("text", b"text"), ({"trigger": "update"}, b'{"trigger":"update"}'), ([], b"[]")],
)
def test_a_body_is_sent_as_it_is_and_has_no_id(body: object, sent: bytes) -> None:
    assert Drafts().make(body=body) == ({}, sent)  # type: ignore[arg-type]


def test_an_id_is_the_one_given_or_none() -> None:
    drafts = Drafts()
    assert drafts.make(SLOT, msg_id="mine").headers[event.MSG_ID] == "mine"
    assert drafts.make(SLOT, msg_id="").headers == {}
    assert drafts.make(body="{}", msg_id="mine").headers == {event.MSG_ID: "mine"}
    assert drafts.make(SLOT, body="{}").headers[event.MSG_ID] == f"crypto@{SLOT}"
    assert drafts.make(SLOT, headers={"ce-type": "mine"}).headers["ce-type"] == "mine"


@pytest.mark.parametrize("slot", ["yesterday", datetime(2023, 11, 21), 5])  # noqa: DTZ001 - it is refused
def test_a_slot_without_an_offset_is_refused(slot: str | datetime) -> None:
    with pytest.raises(ValueError, match=r"slot: .*; accepted: an aware datetime"):
        Drafts().make(slot)


@pytest.mark.parametrize(
    ("name", "value"), [("a b", "1"), ("", "1"), ("é", "1"), ("a:", "1"), ("a", "1\r\nb: 2"), ("a", 1)]
)
def test_a_header_that_nats_would_send_as_something_else_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"headers: {name!r}: .*; accepted: a name of ASCII"):
        Drafts().make(headers={name: value})


def test_more_keys_beside_a_body_are_refused() -> None:
    with pytest.raises(ValueError, match="source: accepted: more keys of an event, and none beside a body"):
        Drafts().make(body="{}", fields={"source": "mine"})


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_body_is_one_for_the_api_stub_too(name: str) -> None:
    with pytest.raises(InvalidEventError):
        message.read({}, INVALID[name])
    assert len(INVALID["1 MB"]) > 1_000_000
