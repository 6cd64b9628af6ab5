"""Runs a server, and ends it when it stays unhealthy.

`python watchdog.py nats-server --config FILE`: this process becomes the server, and a child watches it. When the server
ends, the container ends, and Docker's restart policy starts it again. Only a restart helps a stream that failed to
write: it refuses every event from then on, even when the disk has room again.
"""

import argparse
import os
import signal
import socket
import time

HEALTH_URL = "http://127.0.0.1:8222/healthz"
CHECK_SECONDS = 2.0
ANSWER_SECONDS = 2.0
# A long recovery at the start counts as unhealthy too.
UNHEALTHY_SECONDS = 30.0
SHUTDOWN_SECONDS = 10.0


def is_healthy(url: str) -> bool:
    """True if the server says that its streams and consumers work and that it can write."""
    # With `urllib` this process would take as much memory as the server.
    host, path = url.removeprefix("http://").split("/", 1)
    name, port = host.rsplit(":", 1)
    try:
        with socket.create_connection((name, int(port)), ANSWER_SECONDS) as link, link.makefile("rb") as answer:
            link.sendall(b"GET /%b HTTP/1.0\r\n\r\n" % path.encode())
            return b" 200 " in answer.readline()
    except OSError:
        return False


def watch(server: int, url: str, patience: float) -> None:
    """Return when the server has ended, by itself or because we ended it."""
    healthy = time.monotonic()
    while os.getppid() == server:
        if is_healthy(url):
            healthy = time.monotonic()
        elif time.monotonic() - healthy > patience:
            print(f"[WATCHDOG] Not healthy for {patience:.0f} s: ending the server, for a restart", flush=True)  # noqa: T201
            end(server)
        time.sleep(CHECK_SECONDS)


def end(server: int) -> None:
    """Ask the server to shut down, and kill it if it does not."""
    os.kill(server, signal.SIGTERM)
    deadline = time.monotonic() + SHUTDOWN_SECONDS
    while os.getppid() == server:
        if time.monotonic() > deadline:
            os.kill(server, signal.SIGKILL)
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--health", metavar="URL", default=HEALTH_URL, help="the server's own health check")
    parser.add_argument("--patience", metavar="SECONDS", type=float, default=UNHEALTHY_SECONDS)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    server = os.getpid()
    if os.fork():
        os.execvp(options.command[0], options.command)  # noqa: S606 - the command is the image's
    watch(server, options.health, options.patience)


if __name__ == "__main__":
    main()
