"""How many events a server has reacted to, whatever its way to store them."""

from collections.abc import Sequence
from typing import Any

import pytest

from crypto_updates.harness.verdict.contents import figures, growth, timeless
from crypto_updates.harness.verdict.footprint import Change, Footprint, Write

INSERT, UPDATE = Write("stats", "insert"), Write("stats", "update")
Documents = Sequence[dict[str, Any]]


def change(writes: Sequence[Write], before: Documents = (), after: Documents = ()) -> Change:
    return Change(writes, growth(figures({"stats": before}), figures({"stats": after})))


ADDS_THREE = [change([INSERT] * 3, [], [{"coin": coin} for coin in "abc"])] * 4
ADDS_ONE_FOR_SEVERAL = [change([INSERT], [], [{"prices": [1.5]}])] * 4
COUNTS_IN_PLACE = [change([UPDATE], [{"events": 1, "price": 9}], [{"events": 2, "price": at}]) for at in (3, 7)]
KEEPS_THE_LATEST = [change([UPDATE], [{"price": 9}], [{"price": at}]) for at in (12, 16)]
KEEPS_THE_LAST_HUNDRED = [change([INSERT, Write("stats", "update")], [{"a": 1}], [{"a": 1}])] * 4


@pytest.mark.parametrize(
    ("events", "later", "count"),
    [
        (ADDS_THREE, change([INSERT] * 30), 10),
        (ADDS_THREE, change([INSERT] * 29), 9),
        (ADDS_THREE, change([]), 0),
        (ADDS_ONE_FOR_SEVERAL, change([INSERT], [], [{"prices": [1.5] * 10}]), 10),
        (COUNTS_IN_PLACE, change([UPDATE], [{"events": 5}], [{"events": 15}]), 10),
        (COUNTS_IN_PLACE, change([UPDATE], [{"events": 5}], [{"events": 14}]), 9),
        (KEEPS_THE_LATEST, change([UPDATE] * 10, [{"price": 9}], [{"price": 900}]), 1),
        (KEEPS_THE_LAST_HUNDRED, change([INSERT, UPDATE] * 10), 10),
    ],
)
def test_events_are_counted_by_what_each_of_them_brings(events: list[Change], later: Change, count: int) -> None:
    assert Footprint(events).events(later) == count


def test_a_server_that_keeps_only_the_latest_cannot_be_counted() -> None:
    assert not Footprint(KEEPS_THE_LATEST).countable
    assert Footprint(COUNTS_IN_PLACE).countable


def test_a_write_to_where_a_good_event_writes_nothing_is_no_reaction() -> None:
    footprint = Footprint(ADDS_THREE)
    assert not footprint.reacts([Write("dead_letters", "insert")])
    assert footprint.reacts([Write("dead_letters", "insert"), INSERT])


def test_a_message_that_is_only_logged_is_no_reaction() -> None:
    footprint = Footprint([change([Write("messages", "insert"), INSERT])] * 4)
    assert not footprint.reacts([Write("messages", "insert")])


def test_writes_that_are_seen_with_the_next_event_are_counted_with_it() -> None:
    early, late = change([INSERT] * 2), change([INSERT] * 4)
    footprint = Footprint([*[change([INSERT] * 3)] * 4, early, late, change([INSERT] * 3), change([INSERT] * 2)])
    assert footprint.events(change([INSERT] * 30)) == 10


def test_a_collection_that_few_events_write_to_is_no_part_of_a_reaction() -> None:
    footprint = Footprint([change([INSERT])] * 9 + [change([INSERT, Write("alerts", "insert")])])
    assert footprint.reacts([INSERT])


def test_an_event_lost_in_one_of_two_collections_is_lost() -> None:
    footprint = Footprint([change([Write("history", "insert"), INSERT])] * 4)
    assert footprint.events(change([Write("history", "insert")] * 9 + [INSERT] * 10)) == 9


def test_contents_are_the_same_when_only_times_and_the_order_differ() -> None:
    before = {"stats": [{"coin": "a", "seen": "2026-01-01T00:00:00Z"}, {"coin": "b"}]}
    assert timeless(before) == timeless({"stats": [{"coin": "b"}, {"coin": "a", "seen": "2026-02-02T00:00:00Z"}]})
    assert timeless(before) != timeless({"stats": [{"coin": "b"}, {"coin": "a"}, {"coin": "a"}]})
    assert timeless({"events": 1}) != timeless({"events": 2})
