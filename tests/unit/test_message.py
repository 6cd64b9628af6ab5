"""Which event a message is about, and who it is."""

import base64
import json

import pytest

from crypto_updates.bus.errors import InvalidEventError
from crypto_updates.bus.event import MAX_DEPTH, parse
from crypto_updates.bus.message import MAX_ID_BYTES, bounded, identity, read

EVENT = {"event": "CRYPTO_UPDATE", "timestamp": "2023-11-21T14:30:00Z", "x": [1, 1.0, None]}
BODY = json.dumps(EVENT).encode()
JSON = "application/cloudevents+json"


def problem(headers: dict[str, str], body: bytes) -> str:
    with pytest.raises(InvalidEventError) as raised:
        read(headers, body)
    return str(raised.value)


def named(source: str, number: str, **more: str) -> str | None:
    headers = {"ce-source": source, "ce-id": number} | more
    assert read(headers, BODY).identity == identity(headers)
    return identity(headers)


def envelope(**attributes: object) -> bytes:
    return json.dumps({"specversion": "1.0", "type": "x", "source": "/shop", "id": "7"} | attributes).encode()


@pytest.mark.parametrize(
    "headers", [{}, {"Nats-Msg-Id": ""}, {"nats-msg-id": "x"}, {"ce-id": "7"}, {"ce-source": "/shop"}]
)
def test_a_message_may_have_no_id(headers: dict[str, str]) -> None:
    assert read(headers, BODY) == (None, parse(BODY))


def test_the_id_of_the_stream_comes_first() -> None:
    assert named("/shop", "7", **{"Nats-Msg-Id": "theirs"}) == "theirs"


@pytest.mark.parametrize("names", [("ce-source", "ce-id"), ("Ce-Source", "CE-ID")])
def test_the_source_and_the_id_of_a_cloudevent_are_its_id(names: tuple[str, str]) -> None:
    assert read(dict(zip(names, ("/shop", "7"), strict=True)), BODY).identity == "ce:/shop#7"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("/shop", "7"), ("/shop", "8")),
        (("/shop", "7"), ("/shop/", "7")),
        (("a#b", "c"), ("a", "b#c")),
        (("a%2523b", "c"), ("a#b", "c")),
        (("/a%20b", "c"), ("/a%2520b", "c")),
    ],
)
def test_two_cloudevents_have_two_ids(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert named(*one) != named(*other)


@pytest.mark.parametrize("value", ["Euro%20%E2%82%AC", "Euro%20%e2%82%ac", '"Euro %E2%82%AC"', r'"\Euro \€"', "Euro €"])
def test_a_header_of_a_cloudevent_is_unquoted_and_percent_decoded(value: str) -> None:
    assert named("/shop", value) == "ce:/shop#Euro €"


@pytest.mark.parametrize("value", ["%C0%A0", "%ff"])
def test_a_header_that_decodes_to_no_utf_8_is_refused(value: str) -> None:
    assert (
        problem({"ce-source": "/shop", "ce-id": value}, BODY) == f"ce-id: {value!r} is not UTF-8 when percent-decoded"
    )


@pytest.mark.parametrize(
    "media", [JSON, f"{JSON}; charset=UTF-8", JSON.upper(), "application/cloudevents", f" {JSON} "]
)
@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
def test_the_data_of_a_structured_cloudevent_is_the_event(name: str, media: str) -> None:
    assert read({name: media}, envelope(data=EVENT)) == ("ce:/shop#7", parse(BODY))
    assert read({name: media, "Nats-Msg-Id": "theirs"}, envelope(data=EVENT)).identity == "theirs"


def test_its_data_may_be_in_base64() -> None:
    data = base64.b64encode(BODY).decode()
    assert read({"Content-Type": JSON}, envelope(data_base64=data)) == ("ce:/shop#7", parse(BODY))


def test_both_modes_give_one_id() -> None:
    source, number = "/shop?a=%20#b", "7 €"
    structured = read({"Content-Type": JSON}, envelope(source=source, id=number, data=EVENT)).identity
    assert structured == named(source.replace("%", "%25"), "7%20%E2%82%AC") == "ce:/shop?a=%2520%23b#7 €"


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type"])
@pytest.mark.parametrize(("value", "shown"), [("", "''"), (7, "7"), (None, "None")])
def test_a_structured_cloudevent_has_all_that_it_needs(name: str, value: object, shown: str) -> None:
    body = envelope(data=EVENT, **{name: value})
    assert problem({"Content-Type": JSON}, body) == f"{name}: {shown}; a CloudEvent needs a text there"


def test_another_version_of_cloudevents_is_refused() -> None:
    assert problem({"Content-Type": JSON}, envelope(data=EVENT, specversion="0.3")) == "specversion: '0.3' is not 1.0"


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json"}])
def test_a_structured_cloudevent_without_its_content_type_is_told_how_to_come(headers: dict[str, str]) -> None:
    expected = f"event: None is not CRYPTO_UPDATE (a structured CloudEvent needs Content-Type: {JSON})"
    assert problem(headers, envelope(data=EVENT)) == expected


@pytest.mark.parametrize("kind", ["-batch+json", "+avro", "+protobuf", "+xml", "-batch"])
def test_another_format_of_cloudevents_is_refused_by_its_name(kind: str) -> None:
    media = f"application/cloudevents{kind}"
    expected = f"Content-Type: {media!r}: the only CloudEvents format accepted is {JSON}"
    assert problem({"Content-Type": media}, envelope(data=EVENT)) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (BODY, "specversion: None; a CloudEvent needs a text there"),
        (envelope(), "data: a CloudEvent with an event has either data or data_base64"),
        (envelope(data=EVENT, data_base64=""), "data: a CloudEvent with an event has either data or data_base64"),
        (envelope(data=json.dumps(EVENT)), "data: '{"),
        (envelope(data=None), "data: None is not an object"),
        (envelope(data=EVENT | {"timestamp": "soon"}), "timestamp: not an ISO 8601 time"),
        (envelope(data_base64="*"), "data_base64: not Base64"),
        (envelope(data_base64=7), "data_base64: not Base64"),
        (envelope(data_base64=""), "body: not JSON: "),
        (b"[]", "body: a list is not a CloudEvent"),
        (b"Obj\x01", "body: not JSON: "),
    ],
)
def test_a_structured_cloudevent_without_an_event_is_told(body: bytes, expected: str) -> None:
    assert problem({"Content-Type": JSON}, body).startswith(expected)


def test_an_event_may_be_as_deep_in_an_envelope_as_without_one() -> None:
    deep = json.loads("[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1))
    assert read({"Content-Type": JSON}, envelope(data=EVENT | {"x": deep})).event["x"] == deep
    assert (
        problem({"Content-Type": JSON}, envelope(data=EVENT | {"x": [deep]})) == "data: nested more than 99 levels deep"
    )


@pytest.mark.parametrize("media", ["application/json", "text/plain", "application/cloud", ""])
def test_any_other_content_type_changes_nothing(media: str) -> None:
    assert read({"Content-Type": media}, BODY) == (None, parse(BODY))


@pytest.mark.parametrize("char", ["x", "é", "🚀"])
def test_an_id_is_bounded_in_bytes(char: str) -> None:
    longest = char * (MAX_ID_BYTES // len(char.encode()))
    assert bounded(longest) == longest
    with pytest.raises(InvalidEventError, match=rf"^id: {MAX_ID_BYTES + 1} bytes, more than {MAX_ID_BYTES}: '{char}"):
        bounded(longest + "x")
