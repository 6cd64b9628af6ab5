import logging
import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.report import Report
from tests.chaos.run import Options, run

Survived = Callable[..., Report]


@pytest.fixture
def survived(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Survived:
    """A run of so many seconds with these options, in which nothing may be lost. SEED is read from the environment."""
    caplog.set_level(logging.INFO)  # shows the plan of a test that fails

    def survive(seconds: float, **options: int) -> Report:
        asked = Options(os.environ.get("SEED") or secrets.token_hex(4), seconds, workers=2, stubs=2, **options)
        print(asked.command)  # noqa: T201 - shown of a test that fails, or hangs
        report = run(asked, tmp_path)
        print(report)  # noqa: T201 - as above
        assert report.violations == []
        assert report.figures()["acknowledged events"] > 100
        assert report.slots > seconds / 2
        return report

    return survive
