"""stack, worker and api_stub as programs: beside the package in a clone, within it when it is installed.

They are on the path only of the processes that run them, so that a user's own `stack.py` or `worker/` is left alone.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from crypto_updates.local.process import Process

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "programs"
FOLDER = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent


def start(
    program: str,
    *arguments: str,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    on_line: Callable[[str], object] | None = None,
) -> Process:
    """Run a program with these variables. `-P`: what stands in the current folder is not imported instead."""
    path = os.pathsep.join(filter(None, [str(FOLDER), environ.get("PYTHONPATH")]))
    args = [sys.executable, "-P", "-m", program, *arguments]
    return Process(args, env={**environ, "PYTHONPATH": path}, cwd=cwd, on_line=on_line)
