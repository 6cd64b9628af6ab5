"""Whatever bytes come on crypto.updates end in exactly one of `events` and `dead_letters`, and the service lives on."""

import asyncio
import json
import random

import nats
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client

from tests.e2e.conftest import Stack, eventually, soon

GOOD = {"event": "CRYPTO_UPDATE", "timestamp": "2023-11-21T14:30:00Z"}


def event(extra: str) -> bytes:
    return f'{{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z",{extra}}}'.encode()


# The table of what JSON parsers, drivers and servers each trip over.
TABLE = [
    *(b"", b"null", b"[]"),
    *(b"1", b'"x"', b"{}", b"\x00", b"\xff\xfe{}", b"\xef\xbb\xbf{}", b'{"event":', b"{}{}", b"<html>"),
    *(json.dumps(GOOD | {"timestamp": t}).encode() for t in (None, 1, True, "", "soon", "2023-11-21", [], {}, 1e30)),
    *(
        json.dumps(GOOD | {"timestamp": f"{t}"}).encode()
        for t in ("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2016-12-31T23:59:60Z", "0001-01-01T00:00:00+23:59",
                  "2023-11-21T14:30:00", "2023-11-21T14:30:00.123456789+05:30", "9999-12-31T23:59:59-23:59")
    ),
    *(json.dumps(GOOD | {"event": e}).encode() for e in (None, "", "OTHER", 5, ["CRYPTO_UPDATE"], {"$gt": ""})),
    *(event(f'"data":{value}') for value in ("NaN", "Infinity", "1e999", "-0", str(2**63), str(2**64), "1" * 5000)),
    *(event(f'"data":{"[" * depth}{"]" * depth}') for depth in (50, 98, 99, 150, 200, 500, 100_000)),
    *(event(f'"data":{"{" + chr(34) + "a" + chr(34) + ":"}1{"}"}') for _ in range(1)),
    *(event(f'"{key}":1') for key in ("_id", "received_at", "stream_seq", "a.b", "$where", "", "a\\u0000b", "\\ud800")),
    *(event(f'"data":"{value}"') for value in ("\\ud800", "a\\u0000b", "x" * 900_000, "<script>alert(1)</script>")),
    event('"data":1,"data":2'),
    event('"data":' + json.dumps([0] * 200_000)),
    event('"data":"\xff"').replace("ÿ".encode(), b"\xff"),
]  # fmt: skip


@pytest.mark.timeout(120)
async def test_a_thousand_hostile_payloads_end_in_one_place_each_and_good_events_between_are_stored(
    stack: Stack, publisher: Client
) -> None:
    stub = stack.api_stub()
    chosen = random.Random(7)
    hostile = [*TABLE, *(mutated(chosen) for _ in range(1000 - len(TABLE)))]
    for number, payload in enumerate(hostile):
        await publisher.publish("crypto.updates", payload)
        if number % 10 == 0:
            await publisher.publish(
                "crypto.updates", json.dumps(GOOD).encode(), headers={"Nats-Msg-Id": f"good@{number}"}
            )
            await publisher.flush()
    await publisher.flush()
    sent = len(hostile) + 100
    assert await soon(lambda: stack.sum() >= sent, 60)
    assert stack.sum() == sent
    assert stack.events.count_documents({"_id": {"$regex": "^good@"}}) == 100
    seqs = [d["stream_seq"] for c in (stack.events, stack.dead_letters) for d in c.find({}, {"stream_seq": 1})]
    assert sorted(seqs) == list(range(1, sent + 1))
    raw = {letter["stream_seq"]: letter["raw"] for letter in stack.dead_letters.find()}
    assert set(raw.values()) <= set(hostile)
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
    await publisher.flush()
    # Four ids come twice, and the stream drops the second of each.
    sent = 6 if header == "Nats-Msg-Id" else 10
    assert await soon(lambda: stack.sum() >= sent, 20)
    assert stack.sum() == sent


@pytest.mark.timeout(180)
def test_any_byte_string_ends_in_exactly_one_place(stack: Stack) -> None:
    """By hypothesis; a batch of payloads in each example, so that a bad one has good neighbours in its bulk."""
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
        await client.flush()
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
