"""Negative controls: with a known defect, the same scenario fails the checker that the real code passes."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pymongo import WriteConcern

from tests.chaos import scenario
from tests.chaos.checker import Violation


class Control(NamedTuple):
    """`kind`: the invariant that the defect breaks."""

    scenario: Callable[..., list[Violation]]
    defect: dict[str, Any]
    kind: str


CONTROLS = {
    "JetStream's default fsync": Control(scenario.jetstream, {"config": "jetstream { sync_interval: 2m }"}, "I1"),
    "JetStream's default fsync, three copies": Control(
        partial(scenario.replicated, cuts=[3]), {"config": "jetstream { sync_interval: 2m }"}, "I1"
    ),
    "write concern 1": Control(scenario.mongodb, {"concern": WriteConcern(w=1), "cuts": 5}, "I1"),
    "an outbox that does not wait for the disk": Control(scenario.outbox, {"fsync": "off", "cuts": 5}, "I1"),
    "acknowledging before writing": Control(scenario.outage, {"stub": "tests.chaos.broken.stub"}, "I1"),
    "an id that is not deterministic": Control(scenario.pair, {"worker": "tests.chaos.broken.worker"}, "I2"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_the_defect_is_found_and_is_all_there_is_to_find(name: str, tmp_path: Path) -> None:
    run, defect, kind = CONTROLS[name]
    assert run(tmp_path / "sound") == []
    violations = [violation for violation in run(tmp_path / "broken", **defect) if violation.invariant == kind]
    assert violations, f"{name} passed the checker"
    print(f"{name} failed as it should: {len(violations)} violations of {kind}, {violations[0]}")  # noqa: T201 - its result


def test_without_the_streams_window_the_key_in_mongodb_still_holds(tmp_path: Path) -> None:
    """Two layers drop a second copy. The stream's window is the first, and this shows the other."""
    assert scenario.twice(tmp_path / "sound") == (scenario.EVENTS, [])
    assert scenario.twice(tmp_path / "broken", window=0.1) == (2 * scenario.EVENTS, [])
