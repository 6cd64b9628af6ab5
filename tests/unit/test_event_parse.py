"""How a reader checks an event: whatever the bytes, a document with an aware timestamp or InvalidEventError."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.event import MAX_DEPTH, RESERVED, Event, Quote, encode, parse

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
START = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"'

utf8 = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.none() | st.floats(allow_nan=False, allow_infinity=False)
instants = st.datetimes(timezones=st.just(UTC))
quotes = st.builds(
    Quote,
    coin=utf8,
    symbol=utf8,
    price=floats,
    market_cap=floats,
    change_24h=floats,
    currency=utf8,
    updated_at=st.none() | instants,
)
events = st.builds(
    Event,
    timestamp=instants,
    source=st.just(msgspec.UNSET) | utf8,
    data=st.just(msgspec.UNSET) | st.lists(quotes, max_size=3).map(tuple),
    fetched_at=st.just(msgspec.UNSET) | instants,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("2023-11-21T14:30:00Z"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
objects = st.builds(
    lambda extra, event, timestamp: {**extra, "event": event, "timestamp": timestamp},
    st.dictionaries(st.text(max_size=5), values, max_size=4),
    st.just("CRYPTO_UPDATE") | values,
    values | instants.map(datetime.isoformat),
)
documents = (values | objects).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))
torn = st.builds(lambda body, cut, junk: body[:cut] + junk + body[cut:], documents, st.integers(0, 99), st.binary())


def with_x(value: bytes) -> bytes:
    return START + b',"x":' + value + b"}"


def stamped(value: object) -> bytes:
    return json.dumps({"event": "CRYPTO_UPDATE", "timestamp": value}).encode()


def problem(body: bytes) -> str:
    with pytest.raises(InvalidEventError) as raised:
        parse(body)
    return str(raised.value)


NO_JSON = {
    "NaN": with_x(b"NaN"),
    "Infinity": with_x(b"-Infinity"),
    "invalid UTF-8 in a value": with_x(b'"\xff"'),
    "invalid UTF-8 in a key": START + b',"\xff":1}',
    "encoded lone surrogate": with_x(b'"\xed\xa0\x80"'),
    "raw newline": with_x(b'"\n"'),
    "byte order mark": b"\xef\xbb\xbf" + START + b"}",
    "UTF-16": (START + b"}").decode().encode("utf-16"),
    "trailing garbage": START + b"} x",
    "truncated": START,
    "empty": b"",
    "opened 100k times": b"[" * 100_000,
    "100k lists deep": with_x(b"[" * 100_000 + b"]" * 100_000),
    "100k objects deep": with_x(b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
}


def test_it_reads_the_bare_event_with_space_around() -> None:
    assert parse(b" \r\n" + START + b"}\n") == {"event": "CRYPTO_UPDATE", "timestamp": SLOT}


def test_it_keeps_keys_that_it_does_not_know() -> None:
    assert parse(START + b',"v":2,"$a.b":{"":[null]}}') == {
        "event": "CRYPTO_UPDATE",
        "timestamp": SLOT,
        "v": 2,
        "$a.b": {"": [None]},
    }


@pytest.mark.parametrize(
    ("value", "expected"),
    [(b"9223372036854775808", 2**63), (b"18446744073709551616", 2**64), (b'1,"x":2', 2), (b'"\\u0000"', "\0")],
    ids=["2^63", "2^64", "the last of duplicate keys", "NUL"],
)
def test_it_leaves_to_the_store_what_json_allows(value: bytes, expected: object) -> None:
    assert parse(with_x(value))["x"] == expected


@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
def test_it_refuses_what_is_no_json(body: bytes) -> None:
    assert problem(body).startswith("body: not JSON: ")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"1e400", "x: not storable: larger than any float"),
        (b'[0,{"a":[-1e999]}]', "x[1].a[0]: not storable: larger than any float"),
        (b"[" + b"1" * 5000 + b"]", "x[0]: not storable: larger than any float"),
        (b'"\\ud800"', r"x: not storable: half a surrogate pair in '\ud800'"),
        (b'["a\\udc00b"]', r"x[0]: not storable: half a surrogate pair in 'a\udc00b'"),
        (b'{"\\ud800\\u0041":1}', r"x: not storable: half a surrogate pair in '\ud800A'"),
        (b'"' + b"x" * 5000 + b'\\ud800"', "x: not storable: half a surrogate pair in 'xxx"),
    ],
    ids=["1e400", "nested", "5000 digits", "half", "other half", "half in a key", "half in a long text"],
)
def test_it_refuses_what_json_has_and_nothing_can_hold(value: bytes, expected: str) -> None:
    assert problem(with_x(value)).startswith(expected)


def test_it_refuses_what_a_driver_of_mongodb_would_not_read_as_an_event() -> None:
    assert problem(with_x(b'1,"$ref":"a","$id":2')).startswith("$ref: ")
    assert parse(with_x(b'{"$ref":"a","$id":2}'))["x"] == {"$ref": "a", "$id": 2}


@pytest.mark.parametrize(("body", "shown"), [(b"null", "None"), (b"[]", "a list"), (b"1", "1"), (b'"x"', "'x'")])
def test_it_refuses_json_that_is_no_object(body: bytes, shown: str) -> None:
    assert problem(body) == f"body: {shown} is not an object"


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_it_refuses_nesting_that_mongodb_cannot_hold(opening: bytes, closing: bytes) -> None:
    def nested(levels: int) -> bytes:
        return with_x(opening * (levels - 1) + b"1" + closing * (levels - 1))

    parse(nested(MAX_DEPTH))
    for levels in (MAX_DEPTH + 1, 500):
        assert problem(nested(levels)) == "body: nested more than 99 levels deep"


def test_many_shallow_values_are_not_deep() -> None:
    assert len(parse(with_x(b"[" + b",".join([b"[{}]"] * 1000) + b"]"))["x"]) == 1000


@pytest.mark.parametrize(
    ("name", "shown"),
    [*((n, repr(n)) for n in ("crypto_update", "", None, 1)), (["CRYPTO_UPDATE"], "a list"), ({"a": 1}, "a dict")],
)
def test_it_refuses_other_events(name: object, shown: str) -> None:
    body = json.dumps({"event": name, "timestamp": "2023-11-21T14:30:00Z"}).encode()
    assert problem(body) == f"event: {shown} is not CRYPTO_UPDATE"


def test_it_shows_no_more_of_a_value_than_fits_a_log_line() -> None:
    assert problem(b'{"event":"' + b"\\n" * 5000 + b'"}') == "event: '" + "\\n" * 28 + "... is not CRYPTO_UPDATE"


@pytest.mark.parametrize("key", RESERVED)
def test_it_refuses_keys_that_the_store_adds(key: str) -> None:
    assert problem(START + f',"{key}":null}}'.encode()) == f"{key}: reserved for the store"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2023-11-21T15:30:00+01:00", SLOT),
        ("20231121T1430Z", SLOT),
        ("2023-11-21T14:30:00.123999Z", SLOT + timedelta(milliseconds=123)),
    ],
)
def test_a_timestamp_is_utc_and_has_whole_milliseconds(text: str, expected: datetime) -> None:
    timestamp = parse(stamped(text))["timestamp"]
    assert (timestamp, timestamp.tzinfo) == (expected, UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("soon", "not an ISO 8601 time"),
        ("2023-11-21T14:30:00", "no offset from UTC, such as Z or +01:00"),
        ("2016-12-31T23:59:60Z", "a leap second (:60), which MongoDB's dates do not have"),
        (1_700_577_000, "1700577000 is not a text with an ISO 8601 time"),
        (1_700_577_000.5, "1700577000.5 is not a text with an ISO 8601 time"),
        (True, "True is not a text with an ISO 8601 time"),
        ([], "a list is not a text with an ISO 8601 time"),
        (10**70, "1" + "0" * 56 + "... is not a text with an ISO 8601 time"),
    ],
)
def test_it_says_why_a_timestamp_is_no_instant(value: object, expected: str) -> None:
    assert problem(stamped(value)) == f"timestamp: {expected}"


def test_it_says_that_the_timestamp_is_missing() -> None:
    assert problem(b'{"event":"CRYPTO_UPDATE"}') == problem(stamped(None)) == "timestamp: missing"


@given(body=st.binary() | documents | torn)
def test_any_bytes_are_an_event_or_an_invalid_event(body: bytes) -> None:
    try:
        fields = parse(body)
    except InvalidEventError:
        return
    assert fields["event"] == "CRYPTO_UPDATE"
    assert fields["timestamp"].utcoffset() == timedelta(0)


@given(event=events)
def test_what_is_encoded_is_what_is_read(event: Event) -> None:
    whole = event.timestamp.replace(microsecond=event.timestamp.microsecond // 1000 * 1000)
    assert msgspec.convert(parse(encode(event)), Event) == msgspec.structs.replace(event, timestamp=whole)


@pytest.mark.parametrize("form", ["{}", '{{"event":{}}}', '{{"event":"CRYPTO_UPDATE","timestamp":{}}}'])
def test_no_depth_of_nesting_breaks_the_error_itself(form: str) -> None:
    for depth in range(1, 1200):
        with pytest.raises(InvalidEventError):
            parse(form.format("[" * depth + "]" * depth).encode())
