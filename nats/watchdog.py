"""Becomes the server that it is given, with a child beside it that ends the server when it stays unhealthy.

`python watchdog.py nats-server --config FILE`. The server ends, and the container with it; Docker's restart policy does
the rest. A stream that could not write once stays so until the server is restarted, also when the disk has room again.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
import urllib.request

HEALTH = "http://127.0.0.1:8222/healthz"
# Seconds from look to look, for an answer, and that the server may be unhealthy, a long recovery at its start included.
EVERY, TIMEOUT, PATIENCE = 2.0, 2.0, 30.0
# Seconds to end by itself.
GRACE = 10.0


def is_healthy(url: str) -> bool:
    """True if the server says that its stream and its consumer work, and that it can write."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT):  # noqa: S310 - it is http
            return True
    except OSError:
        return False


def watch(server: int, url: str, patience: float) -> None:
    """Return when the process is gone, ended by its own or by this hand."""
    healthy = time.monotonic()
    while os.getppid() == server:
        if is_healthy(url):
            healthy = time.monotonic()
        elif time.monotonic() - healthy > patience:
            print(f"[WATCHDOG] Not healthy for {patience:.0f} s: ending the server, for a restart", flush=True)  # noqa: T201
            end(server)
        time.sleep(EVERY)


def end(server: int) -> None:
    """Have it shut down, and if it does not, kill it."""
    os.kill(server, signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    while os.getppid() == server:
        if time.monotonic() > deadline:
            os.kill(server, signal.SIGKILL)
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--health", metavar="URL", default=HEALTH, help="where the server tells how it is")
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=PATIENCE)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    server = os.getpid()
    if os.fork():
        os.execvp(options.command[0], options.command)  # noqa: S606 - the command is the image's
    watch(server, options.health, options.patience)


if __name__ == "__main__":
    main()
