"""Any bytes on crypto.updates end in either `events` or `dead_letters`, and the service goes on."""

import asyncio
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from api_stub.errors import BadDocumentError
from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.event import RESERVED, text
from stack import validate
from tests.e2e.conftest import Stack, publish_raw
from tests.support import connect, eventually, settled, soon

GOOD = {"event": "CRYPTO_UPDATE", "timestamp": "2023-11-21T14:30:00Z"}


def event(extra: str) -> bytes:
    return f'{{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z",{extra}}}'.encode()


def at(timestamp: object) -> bytes:
    return json.dumps(GOOD | {"timestamp": timestamp}).encode()


# What JSON parsers, drivers and servers trip over, in the kinds of JSONTestSuite: first what is still an event. It is
# stored as it was sent, by value and type.
NUMBERS = {
    *("-0", "-0.0", "0e1", "1", "1.0", "1E2", "1e-2", "20e1", "-123", "123.456e78", "1e308", "5e-324", "1e-400"),
    *("0.1", "123.456e-789", "4.35", "-0.000000000000000000000000000000000000000000000000000000000000000001"),
    *(str(number) for bits in (31, 32, 53, 63) for number in (2**bits - 1, -(2**bits))),
    *("2147483648", "9007199254740993", "1.7976931348623157e308", "1234567890123456789.0"),
}
STRINGS = {
    *(
        '""',
        '"a"',
        '" "',
        '"\u20ac"',
        '"\\u0041"',
        '"\\ud83d\\ude39\\ud83d\\udc8d"',
        '"\\uffff"',
        '"\\u0000b"',
        '"\uffff"',
    ),
    *('"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\x7f"', '"\U0010ffff"', '"\u2028\u2029"', '"a/*b*/c/*d//e"', '"\\\\u0000"'),
    *('"e\u0301"', '"\u00e9"', '"2023-11-21T14:30:00Z"', '"$x"', '"<script>alert(1)</script>"', '"\ufeff"'),
}
STRUCTURES = {
    *("true", "false", "null", "[]", "{}", "[[]]", "[{}]", "[ ]", '[null,1,true,1.0,"1",{}]', "[1,null,null,2]"),
    *('{"a":[]}', '{"":0}', '{"a.b":1,"$where":2,"__proto__":3}', '{"b":1,"a":2,"\u00e9":3}', '{ "a" :\n[\t] }'),
    *('{"_id":1,"received_at":2,"stream_seq":3}', '{"a":1,"a":2}', '{"a":{"b":1},"a":2}', '{"\\u0061":1}'),
    *('{"$numberLong":"5"}', '{"$date":1}', '{"0":1,"1":2}', '{"foo\\u00e9":"' + 100 * "x" + '"}'),
    *("[" * depth + "]" * depth for depth in (50, 98)),
}
STORABLE = {
    *(event(f'"data":{value}') for value in NUMBERS | STRINGS | STRUCTURES),
    *(event(f'"{key}":1') for key in ("a.b", "$where", "", "__proto__", "$ref")),
    *(event(f'"data":"{900_000 * "x"}"'), event('"data":' + json.dumps([0] * 200_000)), event('"data":1,"data":2')),
    *(b" \r\n\t" + event('"data":7') + b"\n", at("2023-11-21T20:00:00.000999+05:30"), at("20231121T1430Z")),
}
REFUSED = {
    *(b"", b"null", b"[]", b"1", b'"x"', b"{}", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"event":', b"{}{}"),
    *(at(t) for t in (None, 1, True, "", "soon", "2023-11-21", [], {}, 1e30, "2023-11-21T14:30:00")),
    *(at(t) for t in ("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2016-12-31T23:59:60Z")),
    *(at(t) for t in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")),
    *(json.dumps(GOOD | {"event": e}).encode() for e in (None, "", "OTHER", 5, ["CRYPTO_UPDATE"], {"$gt": ""})),
    # Numbers: what is no JSON, and what no 64 bits can hold.
    *(
        event(f'"data":{value}')
        for value in ("NaN", "Infinity", "-Infinity", "+1", "01", "-01", "-", ".5", "1.", "1.e1")
    ),
    *(
        event(f'"data":{value}')
        for value in ("1e", "1e+", "0x1", "1_000", "1 000", "1a", "\uff11", "2.e3", "-.1", "++1")
    ),
    *(event(f'"data":{value}') for value in (str(2**63), str(-(2**63) - 1), str(2**64), "1" * 5000, "1e400", "-1e999")),
    # Strings and keys.
    *(
        event(f'"data":{value}')
        for value in ('"\\ud800"', '"\\udc00\\ud800"', '"\\ud800\\u0041"', '"\\x41"', '"\\u00g1"', '"\t"')
    ),
    *(event(f'"data":{value}') for value in ("'a'", '"a', "a", '"\\"', '"\\u12"', '"a"x', '"\n"', '"\x00"')),
    *(
        event('"data":"?"').replace(b"?", raw)
        for raw in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe9", b"\xf4\xbf\xbf\xbf")
    ),
    *(event(f'"{key}":1') for key in ("_id", "received_at", "stream_seq", "a\\u0000b", "\\ud800")),
    event('"$ref":"a","$id":1'),
    # Structures.
    *(
        event(f'"data":{value}')
        for value in ("", "[", "[1,]", "[,1]", "[1 2]", "[1,,2]", "{", '{"a"}', '{"a":}', '{"a":1,}')
    ),
    *(
        event(f'"data":{value}')
        for value in ("{a:1}", "{1:1}", "[1]]", "/**/1", "1//", "True", "nul", '{"a":1 "b":2}', "]")
    ),
    *(event(f'"data":{value}') for value in ('{"a":[{"b\\u0000":1}]}', f'[[{{"a":{2**70}}}]]', "\u2060[]", "\x0c[]")),
    *(event("" if cut else '"data":1')[: cut or None] for cut in (1, 20)),
    event('"data":1').decode().encode("utf-16"),
    event('"data":1').decode().encode("utf-16-be"),
    event('"data":1') + b"\x00",
    *(event('"data":' + "[" * depth + "]" * depth) for depth in (99, 150, 200, 500, 100_000)),
    *(b"[" * depth + b"]" * depth for depth in (900, 990, 995, 996, 997, 998, 1000)),
}
TABLE = [*sorted(STORABLE), *sorted(REFUSED)]


def content(body: bytes) -> str:
    """What an event is to hold, where 1, 1.0 and true differ, and -0.0 from 0.0."""
    return json.dumps(json.loads(body) | {"timestamp": "2023-11-21T14:30:00Z"})


def stored(event: dict[str, Any]) -> str:
    found = {key: value for key, value in event.items() if key not in RESERVED}
    return json.dumps(found | {"timestamp": text(found["timestamp"])})


def refused(body: bytes) -> str | None:
    """Why `crypto-updates validate` takes it for no event."""
    try:
        validate.event({}, body)
    except (InvalidEventError, BadDocumentError) as error:
        return str(error)
    return None


@pytest.mark.timeout(120)
async def test_a_thousand_hostile_payloads_end_in_one_place_each_and_good_events_between_are_stored(
    stack: Stack, publisher: Client
) -> None:
    stub = stack.api_stub()
    chosen = random.Random(7)
    hostile = [*TABLE, *(mutated(chosen) for _ in range(1000 - len(TABLE)))]
    sent = {}
    for number, payload in enumerate(hostile):
        await publisher.publish("crypto.updates", payload)
        sent[len(sent) + 1] = payload
        if number % 10 == 0:
            good, headers = json.dumps(GOOD).encode(), {"Nats-Msg-Id": f"good@{number}"}
            await publisher.publish("crypto.updates", good, headers=headers)
            sent[len(sent) + 1] = good
            await settled(publisher)
    await settled(publisher)
    assert await soon(lambda: stack.sum() >= len(sent), 60)
    events = {document["stream_seq"]: document for document in stack.events.find()}
    letters = {letter["stream_seq"]: letter for letter in stack.dead_letters.find()}
    assert sorted([*events, *letters]) == sorted(sent)
    assert all(letter["raw"] == sent[seq] for seq, letter in letters.items())
    assert {seq: letter["reason"] for seq, letter in letters.items()} == {seq: refused(sent[seq]) for seq in letters}
    assert {refused(sent[seq]) for seq in events} == {None}
    assert {sent[seq] for seq in events} & {*TABLE} == STORABLE
    assert [sent[seq][:200] for seq, found in events.items() if stored(found) != content(sent[seq])] == []
    assert sum(document["_id"].startswith("good@") for document in events.values()) == 100
    assert stub.status is None


def mutated(chosen: random.Random) -> bytes:
    payload = bytearray(json.dumps(GOOD | {"data": [chosen.random(), None, "x"]}).encode())
    for _ in range(chosen.randint(1, 4)):
        payload[chosen.randrange(len(payload))] = chosen.randrange(256)
    return bytes(payload)


@pytest.mark.parametrize("header", ["Nats-Msg-Id", "Status", "a.b", "$x", "ce-id"])
async def test_hostile_headers_do_no_harm(stack: Stack, publisher: Client, header: str) -> None:
    stack.api_stub()
    for number, value in enumerate(("", "é\x00$", "x" * 5000, "503", "\ufffd")):
        for payload in (json.dumps(GOOD).encode(), b"bad"):
            await publisher.publish("crypto.updates", payload, headers={header: f"{value}{number if value else ''}"})
    await settled(publisher)
    # Four ids come twice, and the stream drops the second of each.
    sent = 6 if header == "Nats-Msg-Id" else 10
    assert await soon(lambda: stack.sum() >= sent, 20)
    assert stack.sum() == sent


@pytest.mark.parametrize("payload", [json.dumps(GOOD).encode(), b"bad"])
@pytest.mark.parametrize("header", [b"Nats-Msg-Id: crypto@\xff\xfe", b"x: \xff", b"\xff: x", b"Nats-Msg-Id"])
async def test_headers_that_are_not_utf_8_do_no_harm(stack: Stack, header: bytes, payload: bytes) -> None:
    stub = stack.api_stub()
    await publish_raw(stack.nats, header, payload)
    assert await soon(lambda: stack.sum() == 1, 10)
    assert not any("Not acknowledged" in line for line in stub.lines)


@pytest.mark.parametrize("status", [b"\xff\xff\xff", b"503", b"404 \xff"])
async def test_an_event_that_looks_like_a_status_of_the_server_is_stored(
    stack: Stack, publisher: Client, status: bytes
) -> None:
    # The stream keeps no status, and core NATS does.
    stub = stack.api_stub(DELIVERY="core")
    good = json.dumps(GOOD).encode()
    while not await soon(lambda: stack.events.count_documents({}), 0.5):
        await publisher.publish("crypto.updates", good, headers={"Nats-Msg-Id": "it listens"})
    await publish_raw(stack.nats, b"Nats-Msg-Id: status", good, status)
    await publisher.publish("crypto.updates", good, headers={"Nats-Msg-Id": "after it"})
    assert await soon(lambda: stack.events.count_documents({"_id": {"$in": ["status", "after it"]}}) == 2, 10)
    assert not any("Disconnected" in line for line in stub.lines)


@pytest.mark.timeout(180)
def test_any_byte_string_ends_in_exactly_one_place(stack: Stack) -> None:
    """Each example is a batch, so that a bad payload has good neighbours in its bulk write."""
    stub = stack.api_stub()
    total = 0
    keys = st.sampled_from(["event", "timestamp", "data", "_id", "$x", "a.b", "\x00"]) | st.text(max_size=5)
    values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(list(GOOD.values())),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=8,
    )
    near = st.dictionaries(keys, values, max_size=4).map(lambda extra: json.dumps(extra | GOOD).encode())
    payloads = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()) | near

    async def send(batch: list[bytes]) -> None:
        client = await connect(stack.nats.url)
        for payload in batch:
            await client.publish("crypto.updates", payload)
        await settled(client)
        await client.close()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.lists(payloads, min_size=1, max_size=20))
    def check(batch: list[bytes]) -> None:
        nonlocal total
        asyncio.run(send(batch))
        total += len(batch)
        assert eventually(lambda: stack.sum() >= total, 10)
        assert stack.sum() == total
        assert stub.status is None

    check()
