"""Filters, pipelines and cursors for MongoDB. Pure: nothing here talks to a server."""

import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import bson
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON
from bson.objectid import ObjectId

from api_stub.codec import CODEC, MILLISECOND
from crypto_updates.bus.event import identity
from crypto_updates.clock.cron import SECOND
from crypto_updates.clock.timetable import BY_HAND

Document = dict[str, Any]
Stages = list[Document]

# The order of the lists. `indexes` has what serves them.
NEWEST_FIRST = [("timestamp", -1), ("_id", -1)]
OLDEST_FIRST = [("timestamp", 1), ("_id", 1)]
LETTERS_FIRST = [("received_at", -1), ("_id", -1)]

# Milliseconds since 1970, and the id as BSON in hexadecimal: it may be of any type. Every text of this form is a valid
# cursor, and fits in a URL.
CURSOR = r"^-?[0-9]{1,19}-([0-9a-f]{2})*$"
ARRAY = {"$type": "array"}
EPOCH = datetime.fromtimestamp(0, UTC)
LONGEST_AGO = -(2**63)  # milliseconds, in BSON
# A dead letter's body may have 15 MB, and its headers as much as a message. A list reads only those up to this size.
MAX_LISTED_BYTES = 16 * 1024
HEADERS_BYTES = {"$cond": [{"$eq": [{"$type": "$headers"}, "object"]}, {"$bsonSize": "$headers"}, 0]}
LISTED_HEADERS = {"$cond": [{"$lte": [HEADERS_BYTES, MAX_LISTED_BYTES]}, "$headers", None]}
# Every id but those of a feed, whichever it is, and of their parts. MongoDB looks for it in the index alone, which it
# would not do for `$not`.
FOREIGN_ID = r"^(?![A-Za-z0-9_-]{1,64}@\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ(#|$))"
# So many events are looked through for the first or the newest foreign one, whoever has sent them.
MAX_SEARCHED = 10_000
# From the slot to the event's arrival, computed by the server. Null if the arrival is no date.
LAG_SECONDS = {
    "$cond": [
        {"$eq": [{"$type": "$received_at"}, "date"]},
        {"$divide": [{"$subtract": ["$received_at", "$timestamp"]}, 1000]},
        None,
    ]
}

SOON = {"$expr": {"$lt": [LAG_SECONDS, BY_HAND / SECOND]}}
OF_NO_FEED = {"_id": {"$regex": FOREIGN_ID}}


def cursor(document: Mapping[str, Any], key: str) -> str:
    """The place of a document among those sorted by a time and the id."""
    at = document[key]
    milliseconds = int(at) if isinstance(at, DatetimeMS) else (at - EPOCH) // MILLISECOND
    return f"{milliseconds}-{bson.encode({'_id': document['_id']}, codec_options=CODEC).hex()}"


def after(cursor: str, key: str) -> Document:
    """The documents after the cursor, sorted newest first. Raises ValueError if it is not a cursor."""
    if not re.fullmatch(CURSOR, cursor):
        raise ValueError(f"{cursor[:60]!r}: not a cursor")
    sign = cursor.index("-", 1)
    at = DatetimeMS(max(LONGEST_AGO, min(-LONGEST_AGO - 1, int(cursor[:sign]))))
    # Unlike `$lt` alone, `$expr` compares ids of different types.
    beyond = {"$expr": {"$lt": ["$_id", {"$literal": _last_id(bytes.fromhex(cursor[sign + 1 :]))}]}}
    return {key: {"$lte": at}, "$or": [{key: {"$lt": at}}, beyond]}


def _last_id(encoded: bytes) -> object:
    """The id, or the bytes as text where nobody but the client made the cursor."""
    try:
        return bson.decode(encoded, CODEC)["_id"]
    except (InvalidBSON, KeyError, RecursionError):
        return encoded.decode(errors="replace")


def named(identity: str) -> Document:
    """The document of this id. MongoDB's shell and drivers give an ObjectId to what they insert without an id."""
    ids = [identity, ObjectId(identity)] if ObjectId.is_valid(identity) else [identity]
    return {"_id": {"$in": ids}}


def span(since: datetime | None, until: datetime | None) -> Document:
    """The events of the slots from `since`, included, to `until`, not included."""
    bounds = {"$gte": since, "$lt": until}
    # Not astimezone(UTC): a time in the year 1 with an offset may have no datetime in UTC.
    asked = {name: DatetimeMS((at - EPOCH) // MILLISECOND) for name, at in bounds.items() if at}
    # What has no date is no event.
    return {"timestamp": asked or {"$type": "date"}}


def behind(event: Mapping[str, Any]) -> Document:
    """The events behind this one, the oldest first."""
    at = event["timestamp"]
    # As in `after`.
    beyond = {"$expr": {"$gt": ["$_id", {"$literal": event["_id"]}]}}
    return {"timestamp": {"$gte": at}, "$or": [{"timestamp": {"$gt": at}}, beyond]}


def of_feed(feed: str) -> Document:
    """The feed's events, parts included: their ids begin with its name and an @, and A follows @."""
    return {"_id": {"$gte": f"{feed}@", "$lt": f"{feed}A"}}


def slots(feed: str, start: datetime, end: datetime) -> Document:
    """The feed's events from `start` to `end`, parts included. The feed's ids sort in the order of their slots."""
    ids = {"$gte": identity(feed, start), "$lt": identity(feed, end + SECOND)}
    return {"_id": ids, "timestamp": {"$gte": start, "$lt": end + SECOND}}


def in_time(feed: str, end: datetime) -> Document:
    """The feed's events up to `end`, without those that somebody published by hand for a slot long past."""
    return slots(feed, EPOCH, end) | SOON


def foreign(start: datetime, end: datetime) -> Document:
    """The events of no feed from `start` up to and including `end`."""
    return {"timestamp": {"$gte": start, "$lte": end}} | OF_NO_FEED


def search(start: datetime, end: datetime, order: int) -> Stages:
    """The times of the events of no feed that came in time, from `start` to `end`: the first ones, or with -1 the last.

    MongoDB looks at MAX_SEARCHED events, so that those of a feed, of which there may be millions, cost little.
    """
    return [
        {"$match": {"timestamp": {"$gte": start, "$lte": end}}},
        {"$sort": {key: order * -direction for key, direction in NEWEST_FIRST}},
        {"$limit": MAX_SEARCHED},
        {"$match": OF_NO_FEED | SOON},
        {"$project": {"timestamp": 1}},
    ]


def quoting(coin: str) -> Document:
    """The events with a quote of the coin."""
    return {"data": {"$elemMatch": {"coin": _name(coin)}}}


def deviation(coin: str, now: datetime, count: int) -> Stages:
    """The population standard deviation of the newest `count` prices."""
    return [
        {"$match": priced(coin) | {"timestamp": {"$lte": now}}},
        {"$sort": dict(NEWEST_FIRST)},
        {"$limit": count},
        {"$group": {"_id": None, "deviation": {"$stdDevPop": price(coin)}}},
    ]


def letters(where: Document, limit: int) -> Stages:
    """Dead letters, newest first, with the `size` of the body in bytes; `raw` and `headers` are null when large."""
    size = {"$cond": [{"$eq": [{"$type": "$raw"}, "binData"]}, {"$binarySize": "$raw"}, None]}
    return [
        {"$match": where},
        {"$sort": dict(LETTERS_FIRST)},
        {"$limit": limit},
        {
            "$set": {
                "size": size,
                "raw": {"$cond": [{"$lte": [size, MAX_LISTED_BYTES]}, "$raw", None]},
                "headers": LISTED_HEADERS,
            }
        },
    ]


def _name(coin: str) -> Document:
    # Without `$not`, MongoDB would also match a list that has the name in it.
    return {"$eq": coin, "$not": ARRAY}


def priced(coin: str) -> Document:
    """The events with a price of the coin."""
    # Not `$type: number`: JSON has no NaN and no infinities, and a decimal may be larger than any float.
    bounds = {"$gte": -sys.float_info.max, "$lte": sys.float_info.max}
    return {"data": {"$elemMatch": {"coin": _name(coin), "price": bounds | {"$not": ARRAY}}}}


def price(coin: str) -> Document:
    """The first price of the coin in an event that has one. $literal, because a coin's name may begin with a `$`."""
    # The server sorts NaN before all numbers, and values of other types before or after them.
    bounds = [{"$gte": ["$$this.price", -sys.float_info.max]}, {"$lte": ["$$this.price", sys.float_info.max]}]
    wanted = {"$and": [{"$eq": ["$$this.coin", {"$literal": coin}]}, *bounds]}
    return {"$first": {"$map": {"input": {"$filter": {"input": "$data", "cond": wanted}}, "in": "$$this.price"}}}
