"""Which documents are new, from what MongoDB's natural order shows."""

from typing import cast

import pytest

from api_stub.errors import StoreUnavailableError
from api_stub.mongo import Events
from api_stub.poll import WINDOW, Poll


@pytest.mark.parametrize(
    ("before", "after", "new"),
    [
        ([], [], []),
        ([], ["b", "a"], ["a", "b"]),
        (["b", "a"], ["b", "a"], []),
        (["b", "a"], ["d", "c", "b", "a"], ["c", "d"]),
        # Of two inserts at once, the later one in this order may be seen first.
        (["c", "a"], ["c", "b", "a"], ["b"]),
        # A removal shows an older document at the end.
        (["c", "b"], ["b", "a"], []),
        # All that was known is removed.
        (["b", "a"], ["e", "d", "c"], ["c", "d", "e"]),
        # Other programs may have any id.
        ([{"x": 1}, 1], [{"x": 2}, {"x": 1}, 1], [{"x": 2}]),
    ],
)
def test_each_new_document_is_found_once_and_in_order(
    before: list[object], after: list[object], new: list[object]
) -> None:
    poll = Poll(cast(Events, None), 100)
    poll._look(before)
    poll._waiting.clear()
    poll._look(after)
    poll._look(after)
    assert list(poll._waiting) == new


def test_when_more_is_new_than_it_looks_at_it_says_so() -> None:
    poll = Poll(cast(Events, None), 100)
    poll._look(["a"])
    with pytest.raises(StoreUnavailableError, match=r"250 events or more within 0\.1 s"):
        poll._look([str(number) for number in range(WINDOW)])
