"""The documents in docs/ are those of the code, and they say what the API stub takes."""

import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from crypto_updates.bus import event, trace
from crypto_updates.bus.event import Event, encode
from crypto_updates.contract import asyncapi, json_schema
from crypto_updates.harness.bodies import INVALID
from tests import contract
from tests.e2e.test_hostile import TABLE, refused
from tests.unit import test_event_parse, test_instant
from tests.unit.test_event_parse import NO_JSON, documents, events, objects, stamped, with_x

SCHEMA = json_schema.document()
ANYONES = Draft202012Validator(SCHEMA)
TIMESTAMP = Draft202012Validator(SCHEMA["properties"]["timestamp"])
PUBLISHED = Draft202012Validator({"$ref": "#/$defs/Event", "$defs": SCHEMA["$defs"]})
# The description of the schema names these rules, which no schema can hold.
BEYOND = "half a surrogate pair|more than 64 bits|levels deep|beyond the years 0001 to 9999"


def cases(test: Callable[..., None]) -> list[Any]:
    """The first argument of each case of the test."""
    (mark,) = (mark for mark in test.pytestmark if len(mark.args[1]) > 2)  # type: ignore[attr-defined]
    return [case[0] if isinstance(case, tuple) else case for case in mark.args[1]]


TIMES = [
    *("2024-02-30T00:00Z", "20230431T00Z", "1900-02-29T00:00Z", "2000-02-29T00:00Z", "2023-11-21T14:30:00Z\n"),
    *cases(test_instant.test_it_reads_every_form_of_a_calendar_date_and_a_time_with_an_offset),
    *cases(test_instant.test_it_reads_the_ends_of_days_and_of_years),
    *cases(test_instant.test_it_says_why_a_text_is_no_instant),
    *cases(test_event_parse.test_it_says_why_a_timestamp_is_no_instant),
]
BODIES = [
    *map(stamped, TIMES),
    *map(with_x, cases(test_event_parse.test_it_refuses_what_json_has_and_nothing_can_hold)),
    *NO_JSON.values(),
    *INVALID.values(),
    *(body for body in TABLE if len(body) < 100_000),  # each value of a list takes a while
]


def number(digits: str) -> float:
    """As a program would read it. Python itself reads no integer of more than 4300 digits."""
    return float(digits) if len(digits) > 100 else int(digits)


def is_taken(body: bytes) -> bool | None:
    """By the schema. None if the body is not JSON, or too deep for the validator."""
    try:
        return ANYONES.is_valid(json.loads(body.decode(), parse_int=number, parse_constant=int))
    except (ValueError, RecursionError):
        return None


def compare(body: bytes) -> None:
    """The schema takes what the API stub takes, but for rules that it cannot hold."""
    taken, why = is_taken(body), refused(body)
    if taken is None:
        assert why is not None
        assert why.startswith("body: ")
    else:
        assert taken == (why is None) or (taken and re.search(BEYOND, str(why)))


@pytest.mark.parametrize("name", contract.texts())
def test_the_files_are_what_the_code_says(name: str) -> None:
    assert (contract.DOCS / name).read_text(encoding="utf-8") == contract.texts()[name], "run `make contract`"


def test_the_schema_is_one_of_2020_12() -> None:
    assert SCHEMA["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:60]))
def test_the_schema_takes_what_the_api_stub_takes(body: bytes) -> None:
    compare(body)


@given(body=documents | objects.map(lambda fields: json.dumps(fields).encode()))
def test_the_schema_takes_whatever_the_api_stub_takes(body: bytes) -> None:
    compare(body)


@given(
    text=st.from_regex(SCHEMA["properties"]["timestamp"]["pattern"])
    | st.from_regex(r"^(190|200|202)[0-4]-?(0[0-3]|1[0-3])-?(28|29|3[01])T2[34](:?[0-6]0){0,2}(Z|[+-]2[34]:?59)$")
)
def test_a_text_is_a_time_of_the_schema_if_it_is_one_of_the_parser(text: str) -> None:
    why = refused(stamped(text))
    assert TIMESTAMP.is_valid(text) == (why is None or "beyond the years 0001" in why)


@given(published=events)
def test_what_the_worker_publishes_is_as_the_schema_says(published: Event) -> None:
    body = json.loads(encode(published))
    assert PUBLISHED.is_valid(body)
    assert ANYONES.is_valid(body)


@pytest.mark.parametrize(
    "fault",
    [{"event": "x"}, {"timestamp": None}, {"data": {}}, {"data": [{"coin": "bitcoin"}]}, {"fetched_at": 1}],
)
def test_what_the_worker_never_publishes_is_not_as_the_schema_says(fault: dict[str, object]) -> None:
    bare = {"event": "CRYPTO_UPDATE", "timestamp": "2023-11-21T14:30:00Z"}
    assert PUBLISHED.is_valid(bare)
    assert not PUBLISHED.is_valid(bare | fault)


@pytest.mark.parametrize("name", ["event", "anyEvent", "trigger"])
def test_the_examples_of_a_message_are_as_its_schemas_say(name: str) -> None:
    document = asyncapi.document()
    message = document["components"]["messages"][name]
    assert message["examples"]
    for example in message["examples"]:
        for part in example.keys() & message.keys() & {"headers", "payload"}:
            jsonschema.validate(
                example[part], {"allOf": [message[part]], "components": document["components"]}, Draft7Validator
            )


def test_the_headers_are_those_of_the_worker() -> None:
    sent = event.headers("demo", test_event_parse.SLOT, "demo@1#2", trace.fresh())
    schema = asyncapi.document()["components"]["messages"]["event"]["headers"]
    jsonschema.validate(sent, schema)
    assert schema["required"] == [*sent]
    for name in sent:
        assert not Draft7Validator(schema).is_valid(sent | {name: None})
