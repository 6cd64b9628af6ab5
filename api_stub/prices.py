"""A coin's prices in a span, as many as a chart has points. What they cost grows with the points, not with the span."""

import math
from datetime import datetime, timedelta

from api_stub.codec import MILLISECOND
from api_stub.mongo import Document, Events
from api_stub.query import EPOCH, NEWEST_FIRST, OLDEST_FIRST, Stages, price, priced, span
from crypto_updates.clock.cron import SECOND

# To look up the newest price of one step costs MongoDB as much as to read so many prices.
READ_FOR_ONE_SEEK = 50


async def read(
    events: Events, coin: str, since: datetime, until: datetime, points: int
) -> tuple[list[Document], timedelta]:
    """The prices, oldest first: all of them and a step of 0, or the newest one of each step. Raises PyMongoError."""
    found = await (await events.aggregate(every(coin, since, until, points + 1))).to_list()
    if len(found) <= points:
        return found, timedelta()
    each = step(until - since, points)
    most = points * READ_FOR_ONE_SEEK
    # Counted in the index alone.
    count = await events.count_documents({"data.coin": coin} | span(since, until), limit=most + 1)
    stages = (thinned if count <= most else sought)(coin, since, until, each)
    return await (await events.aggregate(stages)).to_list(), each


def step(span: timedelta, points: int) -> timedelta:
    """How much of the span each of `points` stands for. Whole seconds, so that points stay where they are."""
    return math.ceil(span / SECOND / points) * SECOND


def every(coin: str, since: datetime, until: datetime, most: int) -> Stages:
    """All prices, up to `most`."""
    return [
        {"$match": priced(coin) | span(since, until)},
        {"$sort": dict(OLDEST_FIRST)},
        {"$limit": most},
        _shown(coin),
    ]


def thinned(coin: str, since: datetime, until: datetime, step: timedelta) -> Stages:
    """The newest price of each step, from a look at all of them."""
    place = {"$floor": {"$divide": [{"$toLong": "$timestamp"}, step // MILLISECOND]}}
    return [
        {"$match": priced(coin) | span(since, until)},
        {"$sort": dict(OLDEST_FIRST)},
        # Before the groups, which would keep the quotes of all coins.
        _shown(coin),
        {"$group": {"_id": place, "timestamp": {"$last": "$timestamp"}, "price": {"$last": "$price"}}},
        {"$sort": {"timestamp": 1}},
        {"$unset": "_id"},
    ]


def sought(coin: str, since: datetime, until: datetime, step: timedelta) -> Stages:
    """The same, from a look into the index for each step."""
    first, milliseconds = (since - EPOCH) // step, step // MILLISECOND
    count = (until - EPOCH - MILLISECOND) // step - first + 1
    begin = [EPOCH, {"$multiply": [{"$add": [first, "$$this"]}, milliseconds]}]
    each = {
        "begin": {"$max": [since, {"$add": begin}]},
        "end": {"$min": [until, {"$add": [*begin, milliseconds]}]},
    }
    within = [{"$gte": ["$timestamp", "$$begin"]}, {"$lt": ["$timestamp", "$$end"]}]
    newest: Stages = [
        {"$match": priced(coin) | {"$expr": {"$and": within}}},
        {"$sort": dict(NEWEST_FIRST)},
        {"$limit": 1},
        _shown(coin),
    ]
    return [
        # One document, of which nothing is used.
        {"$limit": 1},
        {"$project": {"steps": {"$map": {"input": {"$range": [0, count]}, "in": each}}}},
        {"$unwind": "$steps"},
        {"$replaceRoot": {"newRoot": "$steps"}},
        {
            "$lookup": {
                "from": "events",
                "let": {"begin": "$begin", "end": "$end"},
                "pipeline": newest,
                "as": "newest",
            }
        },
        {"$unwind": "$newest"},
        {"$replaceRoot": {"newRoot": "$newest"}},
    ]


def _shown(coin: str) -> Document:
    return {"$project": {"_id": 0, "timestamp": 1, "price": price(coin)}}
