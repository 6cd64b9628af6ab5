"""Every type that MongoDB can hold has a form in JSON, wherever the API shows it. Anyone may have stored it."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote as quote_path

import bson
import httpx
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from crypto_updates.bus.event import text
from tests.e2e.api.conftest import NOW, SLOTS, Api, event, quote

Client = MongoClient[dict[str, Any]]

OID = ObjectId("6b0a5dc307cca886564c31b2")
# The value as it is stored, and its JSON.
VALUES: list[tuple[object, str]] = [
    (2**31 - 1, "2147483647"),
    (2**31, "2147483648"),
    (Int64(7), "7"),
    (-(2**63), "-9223372036854775808"),
    (1e308, "1e308"),
    (-0.0, "-0.0"),
    (float("nan"), "null"),
    (float("-inf"), "null"),
    (Decimal128("1.10"), "1.10"),
    (Decimal128("-12345678901234567890.12345678901234"), "-12345678901234567890.12345678901234"),
    (Decimal128("1E+400"), "1E+400"),
    (Decimal128("NaN"), "null"),
    (Decimal128("-Infinity"), "null"),
    (True, "true"),
    (None, "null"),
    ("é\0😀", '"é\\u0000😀"'),
    (datetime(1, 1, 1, tzinfo=UTC), '"0001-01-01T00:00:00Z"'),
    (datetime(9999, 12, 31, 23, 59, 59, 999000, tzinfo=UTC), '"9999-12-31T23:59:59.999000Z"'),
    (DatetimeMS(253_402_300_800_000), '"+010000-01-01T00:00:00.000Z"'),
    (DatetimeMS(-62_135_596_800_001), '"+000000-12-31T23:59:59.999Z"'),
    (DatetimeMS(-(2**63)), '"-292275055-05-16T16:47:04.192Z"'),
    (OID, '"6b0a5dc307cca886564c31b2"'),
    (b"\xff\0", '"/wA="'),
    (Binary(b"\xff\0", 128), '"/wA="'),
    (Binary(uuid.UUID(int=1).bytes, 4), '"00000000-0000-0000-0000-000000000001"'),
    (Regex("^a", "i"), '{"$regularExpression":{"pattern":"^a","options":"i"}}'),
    (Timestamp(1, 2), '{"$timestamp":{"t":1,"i":2}}'),
    (Code("f()"), '{"$code":"f()"}'),
    (Code("f()", {"a": Int64(1)}), '{"$code":"f()","$scope":{"a":1}}'),
    (DBRef("coins", OID, more=Int64(1)), '{"$ref":"coins","$id":"6b0a5dc307cca886564c31b2","more":1}'),
    (MinKey(), '{"$minKey":1}'),
    (MaxKey(), '{"$maxKey":1}'),
]
WHOLE = "[" + ",".join(form for _, form in VALUES) + "]"
EVERY = [value for value, _ in VALUES]
# Of what these have as text, nothing is valid UTF-8.
NOT_UTF_8 = RawBSONDocument(bson.encode({"key": "text"}).replace(b"text", b"\xed\xa0\x80!"))


@pytest.fixture
def stored(client: Client) -> Iterator[Client]:
    """Forget afterwards what the test has stored."""
    events, letters = (
        {one["_id"] for one in client.crypto[name].find({}, {"_id": 1})} for name in ("events", "dead_letters")
    )
    yield client
    client.crypto.events.delete_many({"_id": {"$nin": list(events)}})
    client.crypto.dead_letters.delete_many({"_id": {"$nin": list(letters)}})


def test_every_type_has_its_form_in_events_the_stream_and_dead_letters(api: Api, stored: Client) -> None:
    raw = {"_id": "types", "x": EVERY, "nested": {"deep": [{"x": EVERY}]}, "bad": NOT_UTF_8}
    with httpx.stream("GET", f"{api.url}/events/stream", timeout=10, trust_env=False) as stream:
        lines = stream.iter_lines()
        next(lines)
        stored.crypto.events.insert_one(event(NOW, **raw))
        live = next(line for line in lines if line.startswith("data: {") and '"types"' in line)
    letter = {"_id": "types", "raw": b"", "headers": {"x": Int64(1)}, "reason": "", "stream_seq": Int64(5)}
    stored.crypto.dead_letters.insert_one(letter | {"received_at": NOW + timedelta(1), "x": EVERY})
    listed = api.get("/events", since=text(NOW), until=text(NOW + timedelta(seconds=1))).text
    for answer in (api.get("/events/types").text, live, listed):
        assert f'"x":{WHOLE},"nested":{{"deep":[{{"x":{WHOLE}}}]}},"bad":{{"key":"\ufffd\ufffd\ufffd!"}}' in answer
        json.loads(answer.removeprefix("data: "))
    dead = api.get("/dead-letters", limit=1).text
    assert f'"x":{WHOLE}' in dead
    assert '"headers":{"x":1},"reason":"","stream_seq":5' in dead


@pytest.mark.parametrize(
    ("price", "shown", "is_price"),
    [
        (Int64(2**31), 2**31, True),
        (Decimal128("0.1"), 0.1, True),
        (1e-8, 1e-8, True),
        (-1.5, -1.5, True),
        (float("inf"), None, False),
        (float("nan"), None, False),
        (Decimal128("NaN"), None, False),
        (Decimal128("Infinity"), None, False),
        (Decimal128("1E+400"), float("inf"), False),  # in JSON a number, but larger than a float
        (True, None, False),
        ("1", None, False),
        ([1], None, False),
        ({"a": 1}, None, False),
        (OID, None, False),
        (MinKey(), None, False),
        (MaxKey(), None, False),
        (NOW, None, False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_price_is_a_number_or_none_at_all(
    api: Api, stored: Client, price: object, shown: float | None, *, is_price: bool
) -> None:
    odd = {"coin": "odd", "price": price, "market_cap": price, "change_24h": price}
    stored.crypto.events.insert_many([event(SLOTS[1], quote("odd", 3), name="even"), event(SLOTS[0], odd, name="odd")])
    assert api.read("/stats", coin="odd") == {"price": shown, "marketCap": shown, "24hChange": shown}
    prices = [price["price"] for price in api.read("/prices", coin="odd")["prices"]]
    assert prices == ([3, shown] if is_price else [3])
    deviation = api.read("/deviation", coin="odd")["deviation"]
    assert deviation == pytest.approx(abs(3 - (shown or 0)) / 2 if is_price else 0, rel=1e-5)


def test_prices_at_the_end_of_what_a_float_can_hold_have_no_deviation(api: Api, stored: Client) -> None:
    stored.crypto.events.insert_many(event(NOW, quote("vast", price), name=str(price)) for price in (1.7e308, -1.7e308))
    assert api.read("/deviation", coin="vast") == {"deviation": None}
    assert len(api.read("/prices", coin="vast", points=2)["prices"]) == 2


@pytest.mark.parametrize(
    "data", [[[{"coin": "odd"}]], {"coin": "odd"}, [DBRef("odd", 1, coin="odd")], {"a": {"coin": "odd"}}], ids=str
)
def test_data_of_another_shape_is_no_error(api: Api, stored: Client, data: object) -> None:
    stored.crypto.events.insert_one(event(NOW, data=data, name="odd"))
    for path in ("/stats", "/deviation", "/prices", "/events"):
        assert api.get(path, coin="odd").status_code in (200, 404), path


IDS: list[tuple[object, str]] = [
    *((name, name) for name in ("a/b", "a//b", "/", "?", "#", "%2F", "a%0Ab", " ", "é", "+", "\0", "x" * 8186, "{}")),
    (OID, str(OID)),
]


@pytest.mark.parametrize(("identity", "name"), IDS, ids=lambda value: str(value)[:20])
def test_an_event_is_found_by_its_id(api: Api, stored: Client, identity: object, name: str) -> None:
    stored.crypto.events.insert_one(event(NOW) | {"_id": identity})
    assert api.read(f"/events/{quote_path(name, safe='')}")["_id"] == name
    assert [found["_id"] for found in api.read("/events", id=name)["events"]] == [name]


@pytest.mark.parametrize("identity", ["stream", ".", "..", "", "../x", "a/../b", "a\nb"])
def test_an_event_whose_id_no_path_can_hold_is_found_by_the_parameter(api: Api, stored: Client, identity: str) -> None:
    stored.crypto.events.insert_one(event(NOW) | {"_id": identity})
    assert [found["_id"] for found in api.read("/events", id=identity)["events"]] == [identity]
    assert api.read("/events", id=identity + "x") == {"events": [], "next": None}


def test_pages_hold_each_event_once_whatever_its_id(api: Api, stored: Client) -> None:
    ids = [
        *(name for name, _ in IDS),
        "",
        1,
        Int64(2**40),
        2.5,
        True,
        None,
        b"x",
        uuid.UUID(int=1),
        NOW,
        Timestamp(1, 1),
    ]
    ids += [DatetimeMS(2**62), MinKey(), MaxKey(), {"a": 1}, Decimal128("7")]
    options: CodecOptions[dict[str, Any]] = CodecOptions(uuid_representation=4)
    events = stored.crypto.get_collection("events", codec_options=options)
    events.insert_many(event(NOW) | {"_id": name} for name in ids)
    asked = {"since": text(NOW), "until": text(NOW + timedelta(seconds=1))}
    whole = [found["_id"] for found in api.read("/events", limit=500, **asked)["events"]]
    assert len(whole) == len(ids)
    for limit in (1, 4):
        paged: list[Any] = []
        page: dict[str, Any] = {"next": None}
        while not paged or page["next"]:
            more = {"cursor": page["next"]} if page["next"] else {}
            page = api.read("/events", limit=limit, **asked, **more)
            paged += [found["_id"] for found in page["events"]]
        assert paged == whole


@pytest.mark.parametrize(
    "timestamp", [DatetimeMS(2**62), DatetimeMS(-(2**62)), "2026-01-01T00:00:00Z", None, 5, Timestamp(1, 1)]
)
@pytest.mark.parametrize("received_at", [NOW, DatetimeMS(2**62), "now", None], ids=lambda value: type(value).__name__)
def test_times_of_another_type_are_no_error(api: Api, stored: Client, timestamp: object, received_at: object) -> None:
    before = [found["_id"] for found in api.read("/events", limit=500)["events"]]
    odd = event(SLOTS[3]) | {"timestamp": timestamp, "received_at": received_at}
    stored.crypto.events.insert_one(odd)
    stored.crypto.dead_letters.insert_one({"_id": "odd", "raw": "text", "received_at": received_at})
    after: list[str] = []
    page: dict[str, Any] = {"next": None}
    while not after or page["next"]:
        page = api.read("/events", limit=1, **({"cursor": page["next"]} if page["next"] else {}))
        after += [found["_id"] for found in page["events"]]
    assert sorted(after) == sorted([*before, *([odd["_id"]] if isinstance(timestamp, DatetimeMS) else [])])
    assert api.get(f"/events/{odd['_id']}").status_code == 200
    assert api.read("/slots")["missing"] == 1
    assert len(api.read("/dead-letters", limit=500)["dead_letters"]) == 4
    first = api.read("/dead-letters", limit=1)
    while first["next"]:
        first = api.read("/dead-letters", limit=1, cursor=first["next"])
