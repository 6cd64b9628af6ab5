"""Which rounds of a benchmark count, by what else the machine did meanwhile."""

from collections.abc import Sequence

import pytest

from tests.benchmarks import rounds
from tests.benchmarks.rounds import DISTURBED, Cpu

CALM, DISTURBING = DISTURBED / 3, DISTURBED * 3


def taken(others: Sequence[float]) -> tuple[dict[str, float], dict[str, float]]:
    """Three rounds that measure 1.0, 2.0, and so on, and what others had of the CPU in each of them."""
    readings = []
    for share in others:
        readings += [Cpu(0.0, 0.0, 0.0), Cpu(100.0, 40.0 + 100 * share, 40.0)]
    return rounds.take("drain", 3, lambda number: {"pace": number + 1.0}, cpu=iter(readings).__next__)


def test_the_median_of_calm_rounds_counts() -> None:
    figures, machine = taken([CALM] * 3)
    assert figures == {"pace": 2.0}
    assert (machine["rounds"], machine["left out"]) == (3, 0)
    assert machine["others"] == pytest.approx(CALM)


def test_a_disturbed_round_is_left_out_and_repeated() -> None:
    figures, machine = taken([DISTURBING, CALM, CALM, CALM])
    assert figures == {"pace": 3.0}
    assert (machine["rounds"], machine["left out"]) == (3, 1)
    assert machine["others"] == pytest.approx(CALM)


def test_rounds_are_not_repeated_for_ever() -> None:
    figures, machine = taken([DISTURBING, CALM, DISTURBING, CALM])
    assert figures == {"pace": 3.0}
    assert (machine["rounds"], machine["left out"]) == (2, 2)


def test_all_rounds_count_if_each_was_disturbed() -> None:
    figures, machine = taken([DISTURBING] * 4)
    assert figures == {"pace": 2.5}
    assert (machine["rounds"], machine["left out"]) == (4, 0)
    assert "4, each of them disturbed" in rounds.section({"drain": machine})[1]


def test_losses_of_a_round_are_not_hidden_by_the_others() -> None:
    found = [{"flood": {"stored": stored, "lag": lag}} for stored, lag in ((5, 0.1), (4, 0.5), (5, 0.2))]
    assert rounds.medians(found) == {"flood": {"stored": 14, "lag": 0.2}}
