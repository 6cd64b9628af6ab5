"""A delivery knows which event and which message it is."""

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from crypto_updates.bus.delivery import Delivery

# 2023-11-21T14:30:00Z in the nanoseconds of JetStream.
STORED = 1_700_577_000_000_000_000


def delivery(reply: str = "", headers: dict[str, str] | None = None) -> Delivery:
    return Delivery.of(Msg(Client(), "crypto.updates", reply, b"body", headers))


def jetstream(seq: int = 41, delivered: int = 1, stored: int = STORED) -> str:
    """Return the reply subject that the server gives a message of the stream."""
    return f"$JS.ACK.CRYPTO.api_stub.{delivered}.{seq}.7.{stored}.0"


def test_a_message_of_the_stream_has_its_sequence_and_stored_time() -> None:
    taken = delivery(jetstream(), {"Nats-Msg-Id": "crypto@x", "ce-id": "crypto@x"})
    assert (taken.body, taken.seq, taken.times) == (b"body", 41, 1)
    assert taken.place == "CRYPTO#41@2023-11-21T14:30:00+00:00"
    assert taken.headers == {"Nats-Msg-Id": "crypto@x", "ce-id": "crypto@x"}


@pytest.mark.parametrize(
    ("place", "more"), [("_.RzP7xOx1", ""), ("hub.RzP7xOx1", ".token"), ("hub.RzP7xOx1", ".token.more")]
)
def test_a_reply_with_domain_and_account_is_read_too(place: str, more: str) -> None:
    taken = delivery(f"$JS.ACK.{place}.CRYPTO.api_stub.1.41.7.{STORED}.0{more}")
    assert (taken.seq, taken.times, taken.place) == (41, 1, delivery(jetstream()).place)


def test_a_message_delivered_again_is_the_same_one() -> None:
    assert delivery(jetstream(delivered=2)).place == delivery(jetstream(delivered=1)).place


@pytest.mark.parametrize("other", [jetstream(seq=42), jetstream(stored=STORED + 1_000_000)])
def test_another_message_has_another_place(other: str) -> None:
    # The same sequence at another time is that of a stream made anew.
    assert delivery(other).place != delivery(jetstream()).place


@pytest.mark.parametrize("reply", ["", "_INBOX.x", "$JS.ACK", "$JS.ACK.a.b.c.d.e.f.g", "$JS.ACK.a.b.1.2.3.4.5.6"])
def test_a_message_of_core_nats_has_no_sequence_and_a_place_of_its_own(reply: str) -> None:
    one = delivery(reply)
    two = dataclasses.replace(one)
    assert one.seq is None
    received = received_at(one.place)
    assert timedelta(0) <= datetime.now(UTC) - received < timedelta(seconds=30)
    assert one.place != two.place


def test_a_time_that_no_stream_gives_leads_to_a_place_of_its_own() -> None:
    assert received_at(delivery(jetstream(stored=10**30)).place) <= datetime.now(UTC)


def received_at(place: str) -> datetime:
    """Return the time in the place of a message of core NATS."""
    kind, _, rest = place.partition("@")
    assert kind == "core"
    return datetime.fromisoformat(rest.partition("#")[0])


async def test_a_message_of_core_nats_is_not_acknowledged() -> None:
    for taken in (delivery(), delivery("_INBOX.somebody")):
        await taken.ack()
        assert not taken.message._ackd
