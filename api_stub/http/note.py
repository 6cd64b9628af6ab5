"""The note of `crypto-updates demo` for the page: what it breaks now. It is one line of JSON in a file.

A file works while NATS or MongoDB does not, and nobody else can write it.
"""

import os
from contextlib import suppress
from pathlib import Path

# The path of that file. The demo sets it for its API stub; it is no setting.
VARIABLE = "DEMO_NOTE"


def message() -> bytes:
    """The note as a message of the event stream; empty if there is none."""
    path = os.environ.get(VARIABLE)
    if path:
        with suppress(OSError):
            return b"event: note\ndata: %b\n\n" % Path(path).read_bytes().strip()
    return b""
