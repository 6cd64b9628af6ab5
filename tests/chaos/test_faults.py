"""Every named fault once, under load: nothing is lost, nothing is there twice, no slot is missed, and it recovers."""

from pathlib import Path

import pytest

from tests.chaos.faults import FAULTS
from tests.chaos.run import Options, run


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", FAULTS)
def test_nothing_is_lost_and_it_recovers_from(name: str, tmp_path: Path) -> None:
    report = run(Options(name.replace(" ", "-"), seconds=1, rate=50, faults=[name]), tmp_path)
    print(report)  # noqa: T201 - shown of a test that fails
    assert report.violations == []
    assert report.figures()["acknowledged events"] > 100
    assert any(report.kills.values()) == ("sigkill" in name)
