"""Every query of the HTTP API finds its way by an index, and looks at no more than it gives."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import AsyncMongoClient, MongoClient
from pymongo.collection import Collection

from api_stub import prices, query
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


@pytest.fixture(scope="module")
def irregular(events: Documents) -> Iterator[Documents]:
    """With gaps, events of one instant, and quotes without a price or of another type."""
    found = events.database.client.irregular.events
    for name, keys in INDEXES:
        if name == "events":
            found.create_index(keys)
    odd: list[Any] = [None, "1", [2.0], float("nan")]
    for n, slot in enumerate(SLOTS[:1000]):
        quotes = [{"coin": "bitcoin", "price": odd[n % 4] if n % 3 == 0 else n}, {"coin": "ethereum", "price": -n}]
        if not 200 < n < 500:
            found.insert_one({"_id": f"a@{n}", "timestamp": slot, "data": quotes})
        if n % 10 == 0:
            found.insert_one({"_id": f"b@{n}", "timestamp": slot, "data": [{"coin": "bitcoin", "price": n + 0.5}]})
            found.insert_one({"_id": f"c@{n}", "timestamp": slot + timedelta(milliseconds=n), "data": quotes})
    yield found
    found.drop()


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
        (prices.every("bitcoin", FIRST, LAST, 400), 100),
        (prices.every("bitcoin", SLOTS[0], SLOTS[-1], 100), 100),
        (prices.thinned("bitcoin", FIRST, LAST, timedelta(hours=1)), 100),
    ],
    ids=["deviation", "unknown coin", "prices", "the first prices", "thinned prices"],
)
def test_an_aggregation_costs_what_it_adds_up(events: Documents, pipeline: query.Stages, most: int) -> None:
    used, examined = winning(explain(events, {"aggregate": "events", "pipeline": pipeline, "cursor": {}}))
    assert "IXSCAN" in used
    assert "COLLSCAN" not in used
    assert examined <= most


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(minutes=7), timedelta(days=3)], ids=str)
# With the second one, the first step of seven minutes has events only before the span begins.
@pytest.mark.parametrize(
    "shift", [timedelta(), timedelta(milliseconds=11), timedelta(minutes=5, milliseconds=1)], ids=str
)
def test_prices_that_are_sought_are_those_that_are_thinned(
    irregular: Documents, step: timedelta, shift: timedelta
) -> None:
    asked = "bitcoin", SLOTS[10] + shift, SLOTS[900] - shift, step
    found = [list(irregular.aggregate(stages(*asked))) for stages in (prices.thinned, prices.sought)]
    assert found[0] == found[1] != []
    assert list(irregular.aggregate(prices.sought("dogecoin", *asked[1:]))) == []


def test_sought_prices_cost_the_steps_and_not_the_span(events: Documents) -> None:
    """The two documents that it looks at more are the one that it begins with, and one at the end of the span."""
    pipeline = prices.sought("bitcoin", SLOTS[0], SLOTS[-1], timedelta(days=5))
    explained = explain(events, {"aggregate": "events", "pipeline": pipeline, "cursor": {}})
    found = list(events.aggregate(pipeline))
    lookup = next(stage for stage in explained["stages"] if "$lookup" in stage)
    assert int(lookup["totalDocsExamined"]) <= len(found) + 2
    assert int(lookup["collectionScans"]) == 0


@pytest.mark.parametrize(("points", "way"), [(1, "thinned"), (1000, "every"), (1, "sought")])
async def test_prices_are_looked_up_only_where_reading_them_all_costs_more(
    events: Documents, monkeypatch: pytest.MonkeyPatch, points: int, way: str
) -> None:
    taken: list[str] = []
    for name in ("every", "thinned", "sought"):
        made = getattr(prices, name)
        monkeypatch.setattr(prices, name, lambda *asked, name=name, made=made: taken.append(name) or made(*asked))
    monkeypatch.setattr(prices, "READ_FOR_ONE_SEEK", 100 if way == "thinned" else 99)
    host, port = events.database.client.address or ("", 0)
    async with AsyncMongoClient[dict[str, Any]](host, port, directConnection=True) as client:
        found, _ = await prices.read(client.crypto.events, "bitcoin", FIRST, LAST, points)
    assert taken[-1] == way
    # Steps stay where they are, so one more may begin before the span.
    assert len(found) == (100 if way == "every" else points + 1)


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
