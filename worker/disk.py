"""Files that are whole or not there, also after a power cut."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def write(path: Path, body: bytes) -> None:
    """Write the file and wait for the disk. A file that is there already stays. Raises OSError."""
    folder = path.parent
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        _sync(folder.absolute().parent)
    temporary = folder / f".{secrets.token_hex(8)}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        with suppress(OSError):
            temporary.unlink()
    _sync(folder)


def _sync(folder: Path) -> None:
    """Make sure that the files in the folder are still there after a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
