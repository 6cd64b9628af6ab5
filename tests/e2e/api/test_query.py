"""Every query of the HTTP API finds its way by an index, and looks at no more than it gives."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.collection import Collection

from api_stub import query
from api_stub.indexes import INDEXES
from api_stub.query import NEWEST_FIRST
from crypto_updates.bus.event import identity
from crypto_updates.local.servers import Mongod

Documents = Collection[dict[str, Any]]

COUNT = 5000
START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = START + timedelta(days=365)
SLOTS = [START + timedelta(minutes=15 * n) for n in range(COUNT)]
FIRST, LAST = SLOTS[100], SLOTS[200]
CURSOR = query.cursor({"timestamp": LAST, "_id": "x"}, "timestamp")


@pytest.fixture(scope="module")
def events() -> Iterator[Documents]:
    with Mongod() as server, MongoClient[dict[str, Any]](server.url, directConnection=True) as client:
        found = client.crypto.events
        for name, keys in INDEXES:
            client.crypto[name].create_index(keys)
        quotes = [{"coin": coin, "price": 1.5} for coin in ("bitcoin", "ethereum")]
        found.insert_many(
            {"_id": identity("crypto", slot), "timestamp": slot, "received_at": slot, "data": quotes} for slot in SLOTS
        )
        letters = client.crypto.dead_letters
        letters.insert_many({"_id": str(n), "received_at": slot, "raw": b"x"} for n, slot in enumerate(SLOTS))
        yield found


def stages(plan: Any) -> Iterator[str]:  # noqa: ANN401 - a document of the server's
    """The names of all stages, wherever in the plan they stand."""
    if isinstance(plan, dict):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for part in plan.values():
            yield from stages(part)
    elif isinstance(plan, list):
        for part in plan:
            yield from stages(part)


def winning(explained: dict[str, Any]) -> tuple[set[str], int]:
    """The stages of the plan that was run, and how many documents it looked at."""
    explained = explained["stages"][0]["$cursor"] if "stages" in explained else explained
    return set(stages(explained["queryPlanner"]["winningPlan"])), explained["executionStats"]["totalDocsExamined"]


def explain(documents: Documents, command: dict[str, Any]) -> dict[str, Any]:
    return documents.database.command("explain", command, verbosity="executionStats")


@pytest.mark.parametrize(
    "where",
    [
        [{}],
        [query.span(FIRST, None)],
        [query.span(None, LAST)],
        [query.span(FIRST, LAST)],
        [query.after(CURSOR, "timestamp")],
        [query.span(FIRST, LAST), query.quoting("bitcoin")],
        [query.span(FIRST, LAST), query.quoting("bitcoin"), query.after(CURSOR, "timestamp")],
        [query.quoting("dogecoin")],
    ],
    ids=["newest", "since", "until", "span", "cursor", "coin", "everything", "unknown coin"],
)
def test_a_page_of_events_costs_what_it_shows(events: Documents, where: list[query.Document]) -> None:
    command = {"find": "events", "filter": {"$and": where}, "sort": dict(NEWEST_FIRST), "limit": 6}
    used, examined = winning(explain(events, command))
    assert "IXSCAN" in used
    assert not used & {"COLLSCAN", "SORT"}
    assert examined <= 7


def test_the_newest_quote_costs_one_document(events: Documents) -> None:
    where = query.quoting("bitcoin") | {"timestamp": {"$lte": NOW}}
    used, examined = winning(
        explain(events, {"find": "events", "filter": where, "sort": dict(NEWEST_FIRST), "limit": 1})
    )
    assert "COLLSCAN" not in used
    assert examined == 1


@pytest.mark.parametrize(
    ("pipeline", "most"),
    [
        (query.deviation("bitcoin", NOW, 100), 100),
        (query.deviation("dogecoin", NOW, 100), 0),
        (query.prices("bitcoin", FIRST, LAST, timedelta()), 100),
        (query.prices("bitcoin", FIRST, LAST, timedelta(hours=1)), 100),
    ],
    ids=["deviation", "unknown coin", "prices", "thinned prices"],
)
def test_an_aggregation_costs_what_it_adds_up(events: Documents, pipeline: query.Stages, most: int) -> None:
    used, examined = winning(explain(events, {"aggregate": "events", "pipeline": pipeline, "cursor": {}}))
    assert "IXSCAN" in used
    assert "COLLSCAN" not in used
    assert examined <= most


def test_counting_prices_costs_no_document(events: Documents) -> None:
    where = {"data.coin": "bitcoin"} | query.span(FIRST, LAST)
    _, examined = winning(explain(events, {"count": "events", "query": where, "limit": 401}))
    assert examined <= 100


def test_coins_are_read_from_the_index_alone(events: Documents) -> None:
    used, examined = winning(explain(events, {"distinct": "events", "key": "data.coin", "query": {}}))
    assert "DISTINCT_SCAN" in used
    assert examined == 0


def test_the_slots_of_a_span_cost_its_events(events: Documents) -> None:
    where = query.slots("crypto", FIRST, LAST)
    used, examined = winning(explain(events, {"find": "events", "filter": where}))
    assert "COLLSCAN" not in used
    assert examined == 101


def test_the_foreign_events_of_a_span_cost_its_place_in_the_index(events: Documents) -> None:
    command = {"find": "events", "filter": query.foreign(FIRST, LAST), "sort": dict(query.NEWEST_FIRST)}
    used, examined = winning(explain(events, command))
    assert "IXSCAN" in used
    assert examined == 0  # all are of a feed


@pytest.mark.parametrize("order", [1, -1])
def test_the_search_for_a_foreign_event_looks_at_no_more_than_so_many(
    events: Documents, order: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "MAX_SEARCHED", 20)
    pipeline = query.search(query.EPOCH, LAST, order)
    used, examined = winning(explain(events, {"aggregate": "events", "pipeline": pipeline, "cursor": {}}))
    assert "IXSCAN" in used
    assert "SORT" not in used
    assert examined <= 20


def test_a_page_of_dead_letters_costs_what_it_shows(events: Documents) -> None:
    cursor = query.cursor({"received_at": LAST, "_id": "x"}, "received_at")
    for where in ({}, query.after(cursor, "received_at")):
        command = {"aggregate": "dead_letters", "pipeline": query.letters(where, 6), "cursor": {}}
        used, examined = winning(explain(events, command))
        assert "IXSCAN" in used
        assert examined <= 7
