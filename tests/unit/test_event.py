"""The event as the worker publishes it: bytes, id, headers, parts."""

import json
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_updates.bus.event import Event, Quote, encode, headers, identity, split, text

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BARE = Event(timestamp=SLOT)
BITCOIN = Quote(
    coin="bitcoin",
    symbol="btc",
    price=37409.0,
    market_cap=None,
    change_24h=-0.25,
    currency="usd",
    updated_at=SLOT - timedelta(seconds=40),
)
FULL = Event(timestamp=SLOT, source="coingecko", data=(BITCOIN,), fetched_at=SLOT + timedelta(seconds=1))

quotes = st.builds(Quote, coin=st.text(max_size=40), symbol=st.just("x"), currency=st.just("usd"))
wholes = st.lists(quotes, max_size=20).map(lambda found: msgspec.structs.replace(FULL, data=tuple(found)))


def test_the_bare_event_is_byte_for_byte_that_of_the_node_worker() -> None:
    assert encode(BARE) == b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}'


def test_the_full_event_begins_with_the_bare_one_and_adds_three_keys() -> None:
    assert encode(FULL) == (
        b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","source":"coingecko","data":[{"coin":"bitcoin",'
        b'"symbol":"btc","price":37409.0,"market_cap":null,"change_24h":-0.25,"currency":"usd",'
        b'"updated_at":"2023-11-21T14:29:20Z"}],"fetched_at":"2023-11-21T14:30:01Z"}'
    )


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf")])
def test_a_price_that_json_has_no_word_for_is_null(price: float) -> None:
    quote = msgspec.structs.replace(BITCOIN, price=price)
    body = json.loads(encode(msgspec.structs.replace(FULL, data=(quote,))))
    assert body["data"][0]["price"] is None


def test_an_event_and_its_quotes_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        FULL.timestamp = SLOT  # type: ignore[misc]
    with pytest.raises(AttributeError):
        BITCOIN.price = 0.0  # type: ignore[misc]


@pytest.mark.parametrize("hours", [0, 1, -5.5, 14])
def test_a_slot_reads_the_same_in_every_time_zone(hours: float) -> None:
    assert text(SLOT.astimezone(timezone(timedelta(hours=hours)))) == "2023-11-21T14:30:00Z"


def test_a_year_has_four_digits() -> None:
    early = SLOT.replace(year=999)
    assert text(early) == "0999-11-21T14:30:00Z"
    assert identity("crypto", early) == "crypto@0999-11-21T14:30:00Z"
    assert headers("crypto", early, "x", TRACE)["ce-time"] == "0999-11-21T14:30:00Z"
    assert text(early) in encode(Event(timestamp=early)).decode()


@pytest.mark.parametrize(
    ("part", "expected"),
    [(0, "crypto@2023-11-21T14:30:00Z"), (1, "crypto@2023-11-21T14:30:00Z#1"), (12, "crypto@2023-11-21T14:30:00Z#12")],
)
def test_the_identity_is_feed_and_slot_and_part(part: int, expected: str) -> None:
    assert identity("crypto", SLOT, part) == expected


def test_the_headers_are_the_deduplication_id_and_cloudevents_binary_mode() -> None:
    assert headers("demo", SLOT, "demo@2023-11-21T14:30:00Z#2", TRACE) == {
        "Nats-Msg-Id": "demo@2023-11-21T14:30:00Z#2",
        "ce-specversion": "1.0",
        "ce-id": "demo@2023-11-21T14:30:00Z#2",
        "ce-source": "/crypto-updates/demo",
        "ce-type": "CRYPTO_UPDATE",
        "ce-time": "2023-11-21T14:30:00Z",
        "ce-datacontenttype": "application/json",
        "traceparent": TRACE,
    }


def test_an_event_that_fits_exactly_stays_whole() -> None:
    two = msgspec.structs.replace(FULL, data=(BITCOIN, BITCOIN))
    size = len(encode(two))
    assert split(two, size) == [two]
    assert split(two, size - 1) == [FULL, FULL]


def test_an_event_without_quotes_is_not_split() -> None:
    assert split(BARE, 1) == [BARE]


@given(whole=wholes, limit=st.integers(1, 3000))
def test_parts_fit_unless_they_are_one_quote_and_together_are_the_whole_in_order(whole: Event, limit: int) -> None:
    parts = split(whole, limit)
    together = [quote for part in parts for quote in part.data or ()]
    assert together == list(whole.data or ())
    for part in parts:
        assert len(encode(part)) <= limit or len(part.data or ()) <= 1
        assert msgspec.structs.replace(part, data=whole.data) == whole
