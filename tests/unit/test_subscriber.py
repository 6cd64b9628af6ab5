"""What of a message goes into `events` and `dead_letters`."""

import asyncio
import contextlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NoReturn, cast

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from api_stub import subscriber
from api_stub.document import MAX_BYTES, encode
from api_stub.metrics import Metrics
from api_stub.mongo import Document
from api_stub.store import Store, Written
from api_stub.subscriber import MAX_RAW_BYTES, Subscriber, dead_letter, document
from crypto_updates.bus.consumer import Consumer
from crypto_updates.bus.delivery import Delivery
from crypto_updates.bus.errors import InvalidEventError

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
STORED = SLOT + timedelta(seconds=2)
RECEIVED = SLOT + timedelta(seconds=3)
PLACE = "CRYPTO#41@2023-11-21T14:30:02+00:00"
BODY = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T15:30:00+01:00","v":[1,null]}'


def delivery(body: bytes, headers: dict[str, str] | None = None, seq: int | None = 41) -> Delivery:
    reply = f"$JS.ACK.CRYPTO.api_stub.1.{seq}.7.{int(STORED.timestamp())}000000000.0" if seq else ""
    return Delivery.of(Msg(Client(), "crypto.updates", reply, body, headers))


def just_now(at: datetime) -> bool:
    return timedelta(0) <= datetime.now(UTC) - at < timedelta(seconds=30)


def test_an_event_is_kept_with_its_id_unknown_keys_and_where_it_came_from() -> None:
    kept = document(delivery(BODY, {"Nats-Msg-Id": "crypto@2023-11-21T14:30:00Z"}), RECEIVED)
    assert kept == {
        "_id": "crypto@2023-11-21T14:30:00Z",
        "event": "CRYPTO_UPDATE",
        "timestamp": SLOT,
        "v": [1, None],
        "received_at": RECEIVED,
        "stream_seq": 41,
    }


def test_an_event_without_an_id_gets_one_from_its_sequence_and_stored_time() -> None:
    assert document(delivery(BODY), RECEIVED)["_id"] == PLACE


def test_an_event_of_core_nats_has_no_sequence() -> None:
    assert document(delivery(BODY, {"Nats-Msg-Id": "x"}, seq=None), RECEIVED)["stream_seq"] is None


def test_what_is_no_event_is_no_document() -> None:
    with pytest.raises(InvalidEventError, match="timestamp: not an ISO 8601 time"):
        document(delivery(b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}'), RECEIVED)


def test_a_dead_letter_keeps_the_raw_bytes_the_headers_and_the_reason() -> None:
    kept = dead_letter(delivery(b"\xff\0", {"Nats-Msg-Id": "theirs", "$x.y": "z"}), "body: not JSON")
    assert just_now(kept.pop("received_at"))
    assert kept == {
        "_id": PLACE,
        "raw": b"\xff\0",
        "headers": {"Nats-Msg-Id": "theirs", "$x.y": "z"},
        "reason": "body: not JSON",
        "stream_seq": 41,
    }


def test_two_dead_letters_with_one_id_are_both_kept() -> None:
    one, two = (dead_letter(delivery(b"", {"Nats-Msg-Id": "x"}, seq), "") for seq in (41, 42))
    assert one["_id"] != two["_id"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"", {}),
        (bytes(range(256)), {"a\0b": "c\0d", "": "", "$a.b": "é"}),
        (b"x" * (MAX_RAW_BYTES + 1), {"a": "b"}),
    ],
    ids=["empty", "odd", "too large"],
)
def test_a_dead_letter_can_always_be_stored(body: bytes, headers: dict[str, str]) -> None:
    letter = dead_letter(delivery(body, headers), "reason")
    assert letter["raw"] == body[:MAX_RAW_BYTES]
    assert len(encode(letter).raw) < MAX_BYTES


@pytest.mark.parametrize(("seq", "where"), [(41, "seq 41"), (None, "core NATS")])
def test_a_log_line_says_where_an_event_came_from(seq: int | None, where: str) -> None:
    assert subscriber._where(delivery(BODY, seq=seq)) == where


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_an_event_is_kept_with_the_trace_in_its_headers() -> None:
    assert document(delivery(BODY, {"traceparent": TRACE}), RECEIVED)["traceparent"] == TRACE


def test_a_header_that_names_no_trace_is_not_kept() -> None:
    assert "traceparent" not in document(delivery(BODY, {"traceparent": "mine"}), RECEIVED)


@pytest.mark.parametrize("own", [b'"mine"', b"null", b'{"a":1}'])
def test_a_trace_in_the_body_is_kept_as_every_key_of_the_body(own: bytes) -> None:
    body = BODY[:-1] + b',"traceparent":' + own + b"}"
    kept = document(delivery(body, {"traceparent": TRACE}), RECEIVED)
    assert kept["traceparent"] == json.loads(own)


class Full:
    """A store that can take no dead letter."""

    async def add_events(self, _: Sequence[Document]) -> Written:
        return Written(set(), {})

    async def add_dead_letters(self, letters: Sequence[Document]) -> Written:
        return Written(set(), dict.fromkeys(range(len(letters)), "too large"))


async def test_each_line_about_one_message_has_its_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> NoReturn:
        raise KeyError("x")

    monkeypatch.setattr(subscriber, "document", broken)
    storing = Subscriber(cast(Consumer, None), cast(Store, Full()), Metrics())
    await storing.handle([delivery(BODY, {"traceparent": TRACE})])
    lines = {record.getMessage(): record.__dict__["traceparent"] for record in caplog.records}
    assert lines == {
        "[EVENT] Not understood (seq 41)": TRACE,
        "[EVENT] Not acknowledged: dead_letters cannot take it: too large (seq 41)": TRACE,
    }


async def test_the_end_of_the_grace_is_kept_also_when_the_consumer_forgets_it() -> None:
    class Forgetful:
        async def stop(self) -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

        def rest(self, most: int) -> list[Delivery]:  # noqa: ARG002 - it has none
            return []

    storing = Subscriber(cast(Consumer, Forgetful()), cast(Store, Full()), Metrics())
    task = asyncio.ensure_future(storing._finish())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
