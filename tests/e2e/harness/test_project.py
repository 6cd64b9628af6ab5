"""The fixture in a project of its user: no test takes another one along, also side by side."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

HERE = Path(__file__).parent


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("mongod")  # it is skipped where no mongod can run
def test_thirty_tests_that_break_things_pass_side_by_side_within_a_minute(tmp_path: Path) -> None:
    shutil.copy(HERE / "project.py", tmp_path / "test_server.py")
    shutil.copy(HERE / "listener.py", tmp_path)
    options = ("-p", "no:cacheprovider", "-n", "2", "-W", "ignore::pytest.PytestDeprecationWarning")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    found = re.search(r"30 passed.* in ([\d.]+)s", done.stdout)
    assert found, done.stdout + done.stderr
    # On a machine that has other work, too, it may take longer by as much as each process has to wait for its turn.
    waiting = max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)
    assert float(found[1]) < 60 * waiting
