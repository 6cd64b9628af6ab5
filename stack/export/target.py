"""Where an export goes: stdout, or a file that has its name only when it is whole."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

BUFFER_BYTES = 2**16


def opened(path: Path | None) -> AbstractContextManager[BinaryIO]:
    """Raises OSError, also at the end; BrokenPipeError when the reader of stdout is gone."""
    if path and path.exists() and not path.is_file():
        return path.open("wb", BUFFER_BYTES)  # a pipe or a device, which no file may replace
    if path:
        return _file(Path(os.path.realpath(path)))  # a link stays, and its file is replaced
    # `sys.stdout` has no buffer with PYTHONUNBUFFERED, as in the images, and would be flushed once more at the end.
    return os.fdopen(sys.stdout.fileno(), "wb", BUFFER_BYTES, closefd=False)


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    # Another export may be writing a file of this name.
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb", BUFFER_BYTES) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
