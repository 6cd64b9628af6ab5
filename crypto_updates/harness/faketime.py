"""The clock that a process sees, by libfaketime: set ahead or back, or running faster."""

import importlib.util
from pathlib import Path

from crypto_updates.local.errors import BinaryError

_NAME = "libfaketime.so.1"
_SYSTEM = (Path("/usr/lib"), Path("/usr/lib64"), Path("/usr/local/lib"))
# Debian has it in a folder of the machine's kind.
_PLACES = (f"faketime/{_NAME}", f"*/faketime/{_NAME}", _NAME)


def variables(time: str) -> dict[str, str]:
    """The variables that give a process this time, as libfaketime reads it: `+20s`, `@2026-01-01 00:00:00 x900`.

    Deadlines, which go by the monotonic clock, keep the real time. Raises BinaryError.
    """
    return {"LD_PRELOAD": str(library()), "FAKETIME": time, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def library() -> Path:
    """The library: the system's, or else the wheel's. Raises BinaryError."""
    wheel = importlib.util.find_spec("libfaketime")
    found = [path for folder in _SYSTEM for place in _PLACES for path in folder.glob(place)]
    for folder in (wheel and wheel.submodule_search_locations) or ():
        found += Path(folder).glob(f"**/{_NAME}")
    if found:
        return found[0]
    raise BinaryError(
        f"{_NAME} was not found: `pip install libfaketime` brings it on x86-64 Linux, or `apt-get install libfaketime`"
    )
