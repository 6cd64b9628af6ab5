"""stack, worker and api_stub as programs: beside the package in a clone, within it when it is installed.

Only the processes that run them have them on their path, so a user's own `stack.py` or `worker/` is never shadowed.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from crypto_updates.local.lines import Lines
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
    lines: Lines | None = None,
    python: Path = Path(sys.executable),
) -> Process:
    """Run a program with these variables, its output unbuffered. `-P` keeps the current folder off its path.

    `python`: the interpreter of another environment.
    """
    path = os.pathsep.join(filter(None, [str(FOLDER), environ.get("PYTHONPATH")]))
    args = [str(python), "-P", "-m", program, *arguments]
    variables = {"PYTHONUNBUFFERED": "1", **environ, "PYTHONPATH": path}
    return Process(args, env=variables, cwd=cwd, on_line=on_line, lines=lines)
