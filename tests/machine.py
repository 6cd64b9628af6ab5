"""What some tests need of the machine beside Python: how to find it, and how to get it.

A test that lacks something is skipped (tests/conftest.py). With CI=true it fails, unless it lacks a Docker engine.
"""

import os
import shutil
import subprocess
import sys
from enum import Enum
from pathlib import Path

import pytest

from crypto_updates.local.errors import BinaryError


class Need(Enum):
    """The value says how to get it."""

    ENGINE = "a Docker engine with Compose v2: https://docs.docker.com/engine/install/"
    CHROMIUM = "Chromium: apt-get install chromium"
    DISKS = "disks to fill and to break: as root, with loop devices, apt-get install e2fsprogs mount"
    PROMETHEUS = "Prometheus with promtool: apt-get install prometheus"
    NAMESPACES = "networks to part: as root, with network namespaces, apt-get install iproute2 util-linux"
    KUBECTL = "kubectl, a wheel on Linux: https://kubernetes.io/docs/tasks/tools/"
    NODE = "Node.js 18 or newer with npm: https://nodejs.org/en/download"
    PACKAGES = "packages from npm: a connection to its registry"


class LackError(Exception):
    def __init__(self, need: Need, found: object) -> None:
        self.need = need
        super().__init__(f"needs {need.value} ({str(found).strip().splitlines()[0]})")


LACKS = (LackError, BinaryError)


def skip(error: Exception) -> None:
    """Skip the test, or raise the error where nothing may be skipped."""
    if os.environ.get("CI") == "true" and not (isinstance(error, LackError) and error.need == Need.ENGINE):
        raise error
    pytest.skip(str(error))


def engine() -> None:
    """Raises LackError."""
    for command in (["docker", "info"], ["docker", "compose", "version"]):
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError) as error:
            told = (getattr(error, "stderr", None) or str(error)).strip()
            raise LackError(Need.ENGINE, f"{' '.join(command)}: {told}") from error


def chromium() -> str:
    """The path of the binary. Raises LackError."""
    names = ("chromium", "chromium-browser", "google-chrome")
    if found := next(filter(None, map(shutil.which, names)), None):
        return found
    raise LackError(Need.CHROMIUM, f"none of {', '.join(names)} is on the PATH")


def kubectl() -> str:
    """The path of the binary, which is beside Python or on the PATH. Raises LackError."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if found := shutil.which("kubectl", path=path):
        return found
    raise LackError(Need.KUBECTL, "not on the PATH")


def disks() -> None:
    """Raises LackError. Whether the kernel lets root mount a disk shows only when it is tried."""
    if os.geteuid() != 0:
        raise LackError(Need.DISKS, "not root")
    tools = ("mount", "umount", "mkfs.ext4", "e2fsck")
    if missing := [tool for tool in tools if shutil.which(tool) is None]:
        raise LackError(Need.DISKS, f"{', '.join(missing)} not found")


def namespaces() -> None:
    """Raises LackError. Whether the kernel lets root make one shows only when it is tried."""
    if os.geteuid() != 0:
        raise LackError(Need.NAMESPACES, "not root")
    if missing := [tool for tool in ("ip", "nsenter", "unshare") if shutil.which(tool) is None]:
        raise LackError(Need.NAMESPACES, f"{', '.join(missing)} not found")
