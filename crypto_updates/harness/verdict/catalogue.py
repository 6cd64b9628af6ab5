"""The list of what a server is asked for."""

from functools import partial

from crypto_updates.harness import bodies
from crypto_updates.harness.verdict import advice, faults, ordinary
from crypto_updates.harness.verdict.item import Check, Item

_BODY = "the process lives, is still subscribed, does not react, and reacts to the next good event"
_FAULT = "the process lives, and reacts to new events when the fault is over"


def _calm(name: str, seconds: float, run: Check, table: advice.Table, does: str) -> Item:
    return Item(name, does, seconds, run, table, calm=True)


def _quick(name: str, seconds: float, run: Check, table: advice.Table, does: str = _FAULT) -> Item:
    return Item(name, does, seconds, run, table)


def _long(name: str, seconds: float, run: Check, table: advice.Table, does: str = _FAULT) -> Item:
    return Item(name, does, seconds, run, table, quick=False)


# Every verdict begins with these: the others build on what they find.
FIRST = (
    _calm("subscribes within 10 s", 2, ordinary.subscribes, advice.START, "nats-server has its subscription"),
    _calm("reacts to an event", 8, ordinary.reacts, advice.EVENT, "20 events, one after another: how long it takes"),
)

# It comes after the invalid bodies, which show where the server logs any message.
COPY = _calm("a second copy", 5, ordinary.ignores_a_copy, advice.COPY, "changes nothing")

ITEMS = (
    *FIRST,
    _calm("200 events at once", 5, ordinary.takes_a_burst, advice.BURST, "none is lost"),
    COPY,
    *(
        _calm(f"invalid body: {name}", 2, partial(ordinary.refuses, body), advice.BODY, _BODY)
        for name, body in bodies.INVALID.items()
    ),
    _long("NATS comes 5 s later", 10, faults.starts_before_nats, advice.NATS_LATE),
    _long("MongoDB comes 5 s later", 12, faults.starts_before_mongo, advice.MONGO_LATE),
    _quick("NATS down 3 s", 8, partial(faults.nats_down, 3), advice.OUTAGE),
    _long("NATS down 25 s", 30, partial(faults.nats_down, 25), advice.OUTAGE),
    _long("NATS down 60 s", 66, partial(faults.nats_down, 60), advice.OUTAGE),
    _long("NATS frozen 20 s", 25, partial(faults.nats_frozen, 20), advice.OUTAGE),
    _quick("connection cut", 6, faults.link_cut, advice.OUTAGE),
    _quick("connection reset", 6, faults.link_reset, advice.OUTAGE),
    _long("connection half-open", 40, faults.link_half_open, advice.SILENCE),
    _quick("slow link", 5, faults.link_slow, advice.SILENCE),
    _quick("MongoDB down 5 s", 12, partial(faults.mongo_down, 5), advice.MONGO),
    _long("MongoDB frozen 10 s", 14, partial(faults.mongo_frozen, 10), advice.MONGO),
    _quick("market answers 429", 5, partial(faults.market_answers, 429), advice.MARKET),
    _quick("market answers 500", 5, partial(faults.market_answers, 500), advice.MARKET),
    _quick("market answers HTML", 5, faults.market_answers_html, advice.MARKET),
    _long("market silent for 30 s", 35, partial(faults.market_is_silent, 30), advice.MARKET),
    _quick("SIGTERM", 6, faults.stops_on_sigterm, advice.STOP, "ends within 10 s, with what is in hand done"),
    _quick("restart", 4, faults.starts_again, advice.AGAIN, "subscribes and reacts again"),
)
