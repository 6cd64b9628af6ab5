"""The HTTP API by examples: what it gives of events that are stored, and what it says of bad parameters."""

import math
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote as quote_path

import pytest
from pymongo import MongoClient

from crypto_updates.bus.event import identity, text
from crypto_updates.contract import asyncapi, json_schema
from tests.e2e.api.conftest import EVENTS, INTERVAL, NEWEST, NOW, SCHEDULE, SLOTS, Api, event, quote
from tests.support import eventually


def ids(page: dict[str, Any]) -> list[str]:
    return [event["_id"] for event in page["events"]]


def test_events_come_newest_first_in_pages_without_a_gap_or_a_repetition(api: Api) -> None:
    whole = ids(api.read("/events", limit=500))
    assert whole == [e["_id"] for e in sorted(EVENTS, key=lambda e: (e["timestamp"], e["_id"]), reverse=True)]
    paged: list[str] = []
    page = api.read("/events", limit=3)
    while True:
        assert len(page["events"]) <= 3
        paged += ids(page)
        if page["next"] is None:
            break
        page = api.read("/events", limit=3, cursor=page["next"])
    assert paged == whole


def test_events_are_chosen_by_their_slot_and_by_coin(api: Api) -> None:
    since, until = text(SLOTS[5]), text(SLOTS[1])
    assert len(api.read("/events", since=since, until=until, limit=500)["events"]) == 4
    assert ids(api.read("/events", since=since, until=until, coin="ethereum")) == [identity("crypto", SLOTS[4])]
    assert api.read("/events", coin="dogecoin") == {"events": [], "next": None}
    page = api.read("/events", coin="bitcoin", until=text(NOW + INTERVAL), limit=2)
    assert ids(page) == [identity("crypto", slot) for slot in SLOTS[:2]]
    following = api.read("/events", coin="bitcoin", until=text(NOW + INTERVAL), limit=2, cursor=page["next"])
    assert ids(following) == [identity("crypto", slot) for slot in (SLOTS[2], SLOTS[4])]


@pytest.mark.parametrize("since", ["2023-11-21T14:30:00Z", "2023-11-21T15:30:00+01:00", "2023-11-21T14:30:00.5Z"])
def test_a_time_has_an_offset_and_may_have_a_fraction(api: Api, since: str) -> None:
    assert len(api.read("/events", since=since, limit=500)["events"]) == len(EVENTS)


def test_an_event_is_given_as_it_is_stored_whatever_its_id(api: Api) -> None:
    for stored in EVENTS:
        name = quote_path(stored["_id"])
        given = api.read(f"/events/{name}")
        assert given["_id"] == stored["_id"]
        assert given["data"] == stored["data"]
        assert given["timestamp"] == text(stored["timestamp"])


def test_coins_are_those_that_were_ever_quoted(api: Api) -> None:
    assert api.read("/coins") == {"coins": ["$price", "bitcoin", "ethereum", "tiny"]}


def test_stats_are_the_newest_quote_and_not_one_of_the_future(api: Api) -> None:
    assert api.read("/stats", coin="bitcoin") == {"price": 50000, "marketCap": 7.5, "24hChange": None}
    assert api.read("/stats", coin="ethereum")["price"] is None
    assert api.read("/stats", coin="$price")["price"] == 1


def test_the_deviation_is_the_populations_of_the_prices_that_are_numbers(api: Api) -> None:
    assert api.read("/deviation", coin="bitcoin") == {"deviation": 4082.48}
    tiny = api.read("/deviation", coin="tiny")["deviation"]
    assert math.isclose(tiny, (0.003 - 0.001234567) / 2, rel_tol=1e-5)
    assert api.read("/deviation", coin="$price") == {"deviation": 0}


def test_the_deviation_is_of_the_last_100_prices(api: Api, client: MongoClient[dict[str, Any]]) -> None:
    slots = [NOW - timedelta(days=1, seconds=n) for n in range(101)]
    prices = [10.0, 20.0] * 50 + [10_000.0]  # the oldest is out
    client.crypto.events.insert_many(event(s, quote("many", p)) for s, p in zip(slots, prices, strict=True))
    try:
        assert api.read("/deviation", coin="many") == {"deviation": 5}
    finally:
        client.crypto.events.delete_many({"data.coin": "many"})


def test_prices_are_oldest_first_and_of_the_last_day(api: Api) -> None:
    given = api.read("/prices", coin="bitcoin")
    assert [(price["timestamp"], price["price"]) for price in given["prices"]] == [
        (text(slot), price) for slot, price in zip(SLOTS[2::-1], (40000, 45000, 50000), strict=True)
    ]
    assert given["step"] == 0
    assert api.read("/prices", coin="bitcoin", since=text(SLOTS[1]), until=text(SLOTS[0]))["prices"] == [
        {"timestamp": text(SLOTS[1]), "price": 45000}
    ]
    assert api.read("/prices", coin="bitcoin", since=text(SLOTS[0]), until=text(SLOTS[1]))["prices"] == []


def test_prices_are_thinned_to_the_newest_of_each_step(api: Api, client: MongoClient[dict[str, Any]]) -> None:
    start = NOW.replace(hour=0, minute=0, second=0) - timedelta(days=9)
    slots = [start + timedelta(seconds=5 * n) for n in range(720)]
    client.crypto.events.insert_many(event(slot, quote("thick", n)) for n, slot in enumerate(slots))
    try:
        asked = {"coin": "thick", "since": text(start), "until": text(start + timedelta(hours=1))}
        given = api.read("/prices", **asked, points=60)
        assert given["step"] == 60
        assert given["prices"][:2] == [{"timestamp": text(slots[n]), "price": n} for n in (11, 23)]
        assert len(given["prices"]) == 60
        assert len(api.read("/prices", **asked, points=720)["prices"]) == 720
    finally:
        client.crypto.events.delete_many({"data.coin": "thick"})


def test_slots_say_which_are_stored_late_and_missing(api: Api) -> None:
    given = api.read("/slots", hours=24)
    states = {slot["slot"]: slot["state"] for slot in given["slots"]}
    stored = {0: "stored", 1: "stored", 2: "late", 3: "missing", 4: "stored", 5: "stored", 6: "stored"}
    assert {n: states[text(SLOTS[n])] for n in stored} == stored
    assert given["beginning"] == text(SLOTS[7])
    assert states[text(SLOTS[7] - INTERVAL)] == "before"
    assert (given["expected"], given["stored"], given["late"], given["missing"]) == (8, 7, 1, 1)
    assert given["next"] == text(NEWEST + INTERVAL)
    assert (given["words"], given["schedule"], given["feed"]) == (SCHEDULE, SCHEDULE, "crypto")
    assert len(api.read("/slots", hours=24, limit=4)["slots"]) == 4


def test_dead_letters_have_a_reason_and_the_beginning_of_what_came(api: Api) -> None:
    first = api.read("/dead-letters", limit=2)
    second = api.read("/dead-letters", limit=2, cursor=first["next"])
    letters = first["dead_letters"] + second["dead_letters"]
    assert [letter["_id"] for letter in letters] == ["CRYPTO#0", "CRYPTO#1", "CRYPTO#2"]
    assert [letter["size"] for letter in letters] == [4, 4, 20_000]
    assert [letter["raw"] for letter in letters] == ["\ufffd<b>", "\ufffd<b>", None]
    assert {letter["reason"] for letter in letters} == {"event: missing"}
    assert second["next"] is None


def test_the_contract_is_served_and_the_documentation_links_it(api: Api) -> None:
    documents = {"asyncapi.json": asyncapi.document(), "event.schema.json": json_schema.document()}
    for path, document in documents.items():
        assert api.read(f"/{path}") == document
        assert f"]({path})" in api.read("/openapi.json")["info"]["description"]
        assert f'<a href="{path}">' in api.get("/").text


def test_the_state_tells_of_each_station(api: Api) -> None:
    names = ("nats", "api_stub", "mongo")

    def when_ok() -> dict[str, Any] | None:
        state: dict[str, Any] = api.read("/state")
        return state if all(state[name]["ok"] for name in names) else None

    state = eventually(when_ok) or api.read("/state")
    assert [state[name]["ok"] for name in names] == [True, True, True]
    assert (state["mongo"]["events"], state["mongo"]["dead_letters"]) == (len(EVENTS), 3)
    assert (state["nats"]["pending"], state["nats"]["messages"]) == (0, 0)
    assert state["worker"]["slot"] == text(NEWEST)
    assert state["next"] == text(NEWEST + INTERVAL)


@pytest.mark.parametrize(
    ("path", "parameter", "value"),
    [
        ("/events", "limit", "0"),
        ("/events", "limit", "501"),
        ("/events", "limit", "many"),
        ("/events", "cursor", "nonsense"),
        ("/events", "cursor", "1-abc"),
        ("/events", "since", "yesterday"),
        ("/events", "since", "1700000000"),
        ("/events", "until", "2023-11-21T14:30:00"),
        ("/events", "coin", ""),
        ("/events", "coin", "x" * 257),
        ("/stats", "coin", ""),
        ("/prices", "points", "1"),
        ("/slots", "hours", "nan"),
        ("/slots", "hours", "169"),
        ("/slots", "limit", "2001"),
        ("/dead-letters", "limit", "501"),
    ],
)
def test_a_bad_parameter_is_named_with_its_value_and_what_is_accepted(
    api: Api, path: str, parameter: str, value: str
) -> None:
    good = {"coin": "bitcoin"} if path in {"/stats", "/prices"} else {}
    answer = api.get(path, **good | {parameter: value})
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert (problem["status"], problem["title"]) == (422, "Unprocessable Content")
    assert [(fault["parameter"], fault["value"]) for fault in problem["errors"]] == [(parameter, value[:200])]
    assert problem["errors"][0]["accepted"]
    assert f"{parameter}={value[:200]}: " in problem["detail"]


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/stats?coin=dogecoin", 404, "no quote of coin 'dogecoin'"),
        ("/deviation?coin=ethereum", 404, "no price of coin 'ethereum'"),
        ("/events/nothing", 404, "no event 'nothing'"),
        ("/nowhere", 404, "Not Found"),
        ("/page/nowhere.js", 404, "Not Found"),
        ("/page/../web.py", 404, "Not Found"),
        ("/page/%2e%2e/web.py", 404, "Not Found"),
    ],
)
def test_what_is_not_there_is_a_problem_document(api: Api, path: str, status: int, detail: str) -> None:
    answer = api.get(path)
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["detail"] == detail


def test_a_span_with_too_many_slots_is_refused_with_how_many_they_are(dense: Api) -> None:
    given = dense.read("/slots", hours=24, limit=1)
    assert (len(given["slots"]), given["words"]) == (1, "every second")
    answer = dense.get("/slots", hours=168)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert answer.json()["detail"] == "hours=168: about 604800 slots of '* * * * * *'; accepted: 100000"


@pytest.mark.parametrize("path", ["/", "/page/main.js", "/events", "/nowhere", "/livez"])
def test_every_answer_says_when_it_was_made(api: Api, path: str) -> None:
    begin = datetime.now(UTC).replace(microsecond=0)
    assert begin <= parsedate_to_datetime(api.get(path).headers["Date"]) <= datetime.now(UTC)


@pytest.mark.parametrize("path", ["/", "/docs", "/page/main.js", "/events", "/nowhere", "/livez", "/openapi.json"])
def test_every_answer_forbids_scripts_of_others_frames_and_guesses(api: Api, path: str) -> None:
    headers = api.get(path).headers
    assert "script-src 'self';" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == ("no-cache" if path.startswith("/page/") else "no-store")
