"""The store's own decisions: how to connect, what can be stored, and where a page begins."""

import re
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from pymongo.errors import ServerSelectionTimeoutError

from api_stub.document import MAX_BYTES, encode
from api_stub.errors import BadDocumentError, StoreUnavailableError
from api_stub.mongo import brief, direct
from api_stub.store import DUPLICATE, _sort_out
from crypto_updates.bus.event import MAX_DEPTH

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mongodb://localhost:27017", True),
        ("mongodb://user:p%40ss@mongo/base?authSource=admin", True),
        ("mongodb://one,two", False),
        ("mongodb://one/?replicaSet=rs0", False),
        ("mongodb://one/?replicaset=rs0", False),
        ("mongodb://one/?directConnection=false", False),
        ("mongodb://one/?replicaSet=rs0&directConnection=true", True),
        ("mongodb+srv://cluster.example.net", False),
    ],
)
def test_a_single_host_is_spoken_to_directly_unless_the_url_decides_otherwise(url: str, *, expected: bool) -> None:
    assert direct(url) is expected


@pytest.mark.parametrize(
    "value",
    [2**63 - 1, -(2**63), "a\0b", "é\U0001f680", {"$a": 1, "b.c": 2, "": 3}, datetime.min.replace(tzinfo=UTC), None],
)
def test_it_encodes_what_mongodb_can_hold(value: object) -> None:
    assert bson.decode(encode({"_id": "x", "v": value}).raw, bson.CodecOptions(tz_aware=True))["v"] == value


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (2**63, "v: not storable: 9223372036854775808 has more than 64 bits"),
        (-(2**63) - 1, "v: not storable: -9223372036854775809 has more than 64 bits"),
        ([{"a": [0, {"b.c": 2**64}]}], "v[0].a[1].b.c: not storable: 18446744073709551616 has more than 64 bits"),
        ({"a\0b": 1}, "v: not storable: the key 'a\\x00b' has a NUL"),
        ([{"a\0b": 2**64}], "v[0]: not storable: the key 'a\\x00b' has a NUL"),
        ("\ud800", "body: not storable: "),
        ({1: 2}, "body: not storable: "),
        (object(), "body: not storable: "),
    ],
)
def test_it_refuses_what_bson_has_no_form_for_and_names_the_key(value: object, problem: str) -> None:
    with pytest.raises(BadDocumentError, match=f"^{re.escape(problem)}"):
        encode({"_id": "x", "u": [True, 0, {}], "v": value})


def test_it_refuses_nesting_that_breaks_the_encoder() -> None:
    value: Any = 1
    for _ in range(50_000):
        value = [value]
    with pytest.raises(BadDocumentError, match=r"^body: not storable: "):
        encode({"v": value})


def test_it_refuses_a_document_above_16_mib_and_takes_one_of_just_that() -> None:
    room = MAX_BYTES - len(bson.encode({"v": b""}))
    assert len(encode({"v": bytes(room)}).raw) == MAX_BYTES
    with pytest.raises(BadDocumentError, match="16777217 bytes as BSON, more than 16777216"):
        encode({"v": bytes(room + 1)})


def test_the_depth_that_a_reader_accepts_can_be_encoded() -> None:
    value: Any = 1
    for _ in range(MAX_DEPTH - 1):
        value = {"a": [value]} if isinstance(value, list) else [value]
    encode({"v": value})


def test_it_tells_what_failed_without_the_view_of_the_topology() -> None:
    view = (
        "one:27017: refused (configured timeouts: connectTimeoutMS: 20000.0ms), Timeout: 10s, Topology Description: x"
    )
    assert brief(ServerSelectionTimeoutError(view)) == "one:27017: refused"


def test_a_duplicate_is_stored_already_and_a_fault_of_the_document_is_its_own() -> None:
    errors = [{"index": 0, "code": DUPLICATE, "errmsg": ""}, {"index": 2, "code": 53, "errmsg": "an array _id"}]
    written = _sort_out({"writeErrors": errors, "writeConcernErrors": []})
    assert written == ({0}, {2: "body: not storable: an array _id"})


@pytest.mark.parametrize(
    "details",
    [
        {"writeErrors": [{"index": 0, "code": 14031, "errmsg": "no space"}], "writeConcernErrors": []},
        {
            "writeErrors": [{"index": 0, "code": DUPLICATE, "errmsg": ""}],
            "writeConcernErrors": [{"errmsg": "no space"}],
        },
    ],
    ids=["storage", "write concern"],
)
def test_a_fault_of_the_server_is_never_a_dead_letter(details: dict[str, Any]) -> None:
    with pytest.raises(StoreUnavailableError, match=r"^MongoDB: no space$"):
        _sort_out(details)
