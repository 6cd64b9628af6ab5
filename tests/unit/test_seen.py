"""What was seen so far."""

import pytest

from crypto_updates.harness.seen import Seen


def test_too_few_are_told_by_their_number_and_the_latest_of_them() -> None:
    seen = Seen[int]("numbers")
    for number in range(15):
        seen.add(number)
    assert seen.wait(15, within=0) == [*range(15)]
    with pytest.raises(AssertionError, match=r"^15 of 20 numbers after 0\.0 s\n  5\n(.|\n)*  14$"):
        seen.wait(20, within=0)
