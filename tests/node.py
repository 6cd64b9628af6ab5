"""Node.js and the npm packages of the servers that tests start."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.machine import LackError, Need

_INSTALL_SECONDS = 120


def path() -> dict[str, str]:
    """PATH, where `node` and `npm` belong together: the system's, or else the wheel's. Raises LackError."""
    system, wheel = os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)
    for folders in (system, os.pathsep.join([wheel, system])):
        if shutil.which("node", path=folders) and shutil.which("npm", path=folders):
            return {"PATH": folders}
    raise LackError(Need.NODE, "node and npm are not on the PATH")


def install(folder: Path) -> Path:
    """Install what package-lock.json names, once for all test processes, and return the folder. Raises LackError."""
    lock, done = folder / "package-lock.json", folder / "node_modules" / ".package-lock.json"
    with lock.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # the other processes of pytest-xdist wait here
        if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
            command = ["npm", "ci", "--no-audit", "--no-fund", "--no-update-notifier"]
            try:
                subprocess.run(
                    command,
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
    return folder
