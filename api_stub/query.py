"""What is asked of MongoDB: filters, pipelines and cursors for events and the quotes in them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from bson.datetime_ms import DatetimeMS

Query = dict[str, Any]
Stages = list[dict[str, Any]]

NEWEST_FIRST = [("timestamp", -1), ("_id", -1)]
# The indexes that these queries use. `data` is what anyone has sent, so `data.coin` may be anything.
BY_COIN = [("data.coin", 1), *NEWEST_FIRST]
LETTERS_FIRST = [("received_at", -1), ("_id", -1)]

# Milliseconds since 1970, and the id in hexadecimal: fit for a URL, and no text of this form is a wrong one.
CURSOR = r"^-?[0-9]{1,15}-([0-9a-f]{2})*$"
ARRAY = {"$type": "array"}
EPOCH = datetime.fromtimestamp(0, UTC)
MILLISECOND = timedelta(milliseconds=1)
# Characters of a coin's id that can be asked for.
LONGEST = 200
# A dead letter's body may have 15 MB; up to so many bytes of it are read for a list.
SHOWN = 16 * 1024


def cursor(document: Mapping[str, Any], key: str) -> str:
    """Names the place of a document among those sorted by a time and the id."""
    return f"{(document[key] - EPOCH) // MILLISECOND}-{document['_id'].encode().hex()}"


def after(cursor: str, key: str) -> Query:
    """What comes after the place that the cursor names, the newest being first. Raises ValueError for another form."""
    if not re.fullmatch(CURSOR, cursor):
        raise ValueError(f"{cursor[:60]!r}: not a cursor")
    sign = cursor.index("-", 1)
    at, identity = DatetimeMS(int(cursor[:sign])), bytes.fromhex(cursor[sign + 1 :]).decode(errors="replace")
    return {key: {"$lte": at}, "$or": [{key: {"$lt": at}}, {"_id": {"$lt": identity}}]}


def span(since: datetime | None, until: datetime | None) -> Query:
    """The events of the slots from `since`, included, to `until`, not included."""
    bounds = {"$gte": since, "$lt": until}
    asked = {name: _instant(at) for name, at in bounds.items() if at}
    return {"timestamp": asked} if asked else {}


def quoting(coin: str) -> Query:
    """The events with a quote of the coin."""
    return {"data": {"$elemMatch": {"coin": _name(coin)}}}


def deviation(coin: str, now: datetime, count: int) -> Stages:
    """The population standard deviation of the newest so many prices."""
    return [
        {"$match": _priced(coin) | {"timestamp": {"$lte": now}}},
        {"$sort": dict(NEWEST_FIRST)},
        {"$limit": count},
        {"$group": {"_id": None, "deviation": {"$stdDevPop": _price(coin)}}},
    ]


def prices(coin: str, since: datetime, until: datetime, step: timedelta) -> Stages:
    """The prices of a span, oldest first: the newest of each `step`, or all with a step of 0."""
    thinned: Stages = [
        {
            "$group": {
                "_id": _place(step // MILLISECOND),
                "newest": {"$max": {"timestamp": "$timestamp", "price": "$price"}},
            }
        },
        {"$replaceRoot": {"newRoot": "$newest"}},
        {"$sort": {"timestamp": 1}},
    ]
    return [
        {"$match": _priced(coin) | span(since, until)},
        {"$sort": {"timestamp": 1, "_id": 1}},
        {"$project": {"_id": 0, "timestamp": 1, "price": _price(coin)}},
        *(thinned if step else []),
    ]


def step(span: timedelta, points: int) -> timedelta:
    """What a point stands for where the span has so many: whole seconds, so that points stay where they are."""
    return timedelta(seconds=math.ceil(span / timedelta(seconds=1) / points))


def letters(where: Query, limit: int) -> Stages:
    """Dead letters, newest first, with the `size` of the body in bytes, and with `raw` only where that is small."""
    size = {"$binarySize": "$raw"}
    return [
        {"$match": where},
        {"$sort": dict(LETTERS_FIRST)},
        {"$limit": limit},
        {"$set": {"size": size, "raw": {"$cond": [{"$lte": [size, SHOWN]}, "$raw", None]}}},
    ]


def _instant(at: datetime) -> DatetimeMS:
    # A datetime of the year 1 with an offset is none in UTC.
    return DatetimeMS((at - EPOCH) // MILLISECOND)


def _name(coin: str) -> Query:
    # A list of names matches, too, where one of them does.
    return {"$eq": coin, "$not": ARRAY}


def _priced(coin: str) -> Query:
    return {"data": {"$elemMatch": {"coin": _name(coin), "price": {"$type": "number", "$not": ARRAY}}}}


def _price(coin: str) -> Query:
    """The first price of the coin in an event that has one. The coin's name is data, and may begin with a `$`."""
    wanted = {"$and": [{"$eq": ["$$this.coin", {"$literal": coin}]}, {"$isNumber": "$$this.price"}]}
    return {"$first": {"$map": {"input": {"$filter": {"input": "$data", "cond": wanted}}, "in": "$$this.price"}}}


def _place(step: int) -> Query:
    return {"$floor": {"$divide": [{"$toLong": "$timestamp"}, step]}}
