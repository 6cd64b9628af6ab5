"""stack, worker and api_stub as programs: beside the package in a clone, within it when it is installed.

They are on the path only of the processes that run them, so that a user's own `stack.py` or `worker/` is left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "programs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def command(program: str, *arguments: str) -> list[str]:
    """The command line that runs a program. `-P`: what stands in the current folder is not imported instead."""
    return [sys.executable, "-P", "-m", program, *arguments]


def environ(base: Mapping[str, str]) -> dict[str, str]:
    """These variables, with the programs' folder first on the path."""
    path = os.pathsep.join(filter(None, [str(FOLDER), base.get("PYTHONPATH")]))
    return {**base, "PYTHONPATH": path}
