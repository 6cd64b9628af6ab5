"""Any bytes on crypto.updates end in either `events` or `dead_letters`, and the service goes on."""

import asyncio
import json
import random

import nats
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from tests.e2e.conftest import Stack, publish_raw
from tests.support import eventually, settled, soon

GOOD = {"event": "CRYPTO_UPDATE", "timestamp": "2023-11-21T14:30:00Z"}


def event(extra: str) -> bytes:
    return f'{{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z",{extra}}}'.encode()


def at(timestamp: object) -> bytes:
    return json.dumps(GOOD | {"timestamp": timestamp}).encode()


def nested(depth: int) -> bytes:
    return event(f'"data":{"[" * depth}{"]" * depth}')


# What JSON parsers, drivers and servers trip over: first what is still an event, then what is not.
STORABLE = {
    *(
        event(f'"data":{value}')
        for value in ("-0", "1e308", str(2**63 - 1), '"a\\u0000b"', '"<script>alert(1)</script>"')
    ),
    *(event(f'"{key}":1') for key in ("a.b", "$where", "", "__proto__")),
    *(event(f'"data":"{900_000 * "x"}"'), event('"data":' + json.dumps([0] * 200_000)), event('"data":1,"data":2')),
    *(nested(50), nested(98)),
    at("2023-11-21T14:30:00.123456789+05:30"),
}
REFUSED = {
    *(b"", b"null", b"[]", b"1", b'"x"', b"{}", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"event":', b"{}{}"),
    *(at(t) for t in (None, 1, True, "", "soon", "2023-11-21", [], {}, 1e30, "2023-11-21T14:30:00")),
    *(at(t) for t in ("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2016-12-31T23:59:60Z")),
    *(at(t) for t in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59")),
    *(json.dumps(GOOD | {"event": e}).encode() for e in (None, "", "OTHER", 5, ["CRYPTO_UPDATE"], {"$gt": ""})),
    *(event(f'"data":{value}') for value in ("NaN", "Infinity", "1e999", str(2**63), str(2**64), "1" * 5000)),
    *(event(f'"{key}":1') for key in ("_id", "received_at", "stream_seq", "a\\u0000b", "\\ud800")),
    *(nested(depth) for depth in (99, 150, 200, 500, 100_000)),
    *(b"[" * depth + b"]" * depth for depth in (900, 990, 995, 996, 997, 998, 1000)),
    event('"data":"\\ud800"'),
    event('"data":"?"').replace(b"?", b"\xff"),
}
TABLE = [*sorted(STORABLE), *sorted(REFUSED)]


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
    letters = {letter["stream_seq"]: letter["raw"] for letter in stack.dead_letters.find()}
    assert sorted([*events, *letters]) == sorted(sent)
    assert all(raw == sent[seq] for seq, raw in letters.items())
    assert {sent[seq] for seq in events} & {*TABLE} == STORABLE
    assert sum(document["_id"].startswith("good@") for document in events.values()) == 100
    shown = {document.get("data") for document in events.values() if isinstance(document.get("data"), str)}
    assert shown >= {"a\0b", "<script>alert(1)</script>", 900_000 * "x"}
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
        client = await nats.connect(stack.nats.url)
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
