"""The steps from one replica set to another, without a server."""

from typing import Any

import pytest

from stack.setup.members import following

ONE = ["mongo:27017"]
THREE = ["mongo:27017", "mongo2:27017", "mongo3:27017"]


def config(*hosts: str) -> dict[str, Any]:
    members = [{"_id": number, "host": host, "priority": 1} for number, host in enumerate(hosts)]
    return {"_id": "rs0", "version": 7, "members": members}


def hosts(found: dict[str, Any]) -> list[str]:
    return [member["host"] for member in found["members"]]


def test_one_member_is_added_at_a_time() -> None:
    two = following(config(*ONE), THREE, ONE[0])
    assert two
    assert (hosts(two), two["version"]) == (THREE[:2], 8)
    three = following(two, THREE, ONE[0])
    assert three
    assert (hosts(three), [member["_id"] for member in three["members"]]) == (THREE, [0, 1, 2])


def test_one_member_is_removed_at_a_time_and_never_the_primary() -> None:
    two = following(config(*THREE), ONE, ONE[0])
    assert two
    assert hosts(two) == THREE[:2]
    one = following(two, ONE, ONE[0])
    assert one
    assert hosts(one) == ONE


@pytest.mark.parametrize("primary", THREE[1:])
def test_the_one_that_stays_takes_over_before_the_primary_goes(primary: str) -> None:
    before = following(config(*THREE), ONE, primary)
    assert before
    assert [member["priority"] for member in before["members"]] == [2, 1, 1]
    assert following(before, ONE, primary) is None
    after = following(before, ONE, ONE[0])
    assert after
    assert [(member["host"], member["priority"]) for member in after["members"]] == [(host, 1) for host in THREE[:2]]


def test_a_number_that_was_used_is_not_used_again() -> None:
    found = config(*ONE, "gone:27017", "mongo2:27017")
    del found["members"][1]
    three = following(found, THREE, ONE[0])
    assert three
    assert [member["_id"] for member in three["members"]] == [0, 2, 3]
