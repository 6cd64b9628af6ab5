"""Where an export goes: stdout, or a file that has its name only when it is whole."""

import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO

BUFFER_BYTES = 2**16


def opened(path: Path | None) -> AbstractContextManager[BinaryIO]:
    """Raises OSError, also at the end; BrokenPipeError when the reader of stdout is gone."""
    if path:
        return _file(path)
    # `sys.stdout` has no buffer with PYTHONUNBUFFERED, as in the images, and would be flushed once more at the end.
    return os.fdopen(sys.stdout.fileno(), "wb", BUFFER_BYTES, closefd=False)


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb", BUFFER_BYTES) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
