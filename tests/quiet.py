"""`python -m tests.quiet`: an hour of normal work that a real Prometheus watches, in which no alert may fire.

The rules, their times and the schedule are those of the stack. The market is simulated.
"""

import argparse
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

from crypto_updates.local import ports, programs
from crypto_updates.local.servers import Mongod, NatsServer
from tests.prometheus import Prometheus
from tests.support import eventually

# Prometheus evaluates the rules every 15 seconds.
LOOK_SECONDS = 5.0


class Listener:
    """A client of the live page, and how many events it got. Without one, no live stream is open."""

    def __init__(self, url: str) -> None:
        self.events = 0
        self._url = url
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(httpx.TransportError), httpx.stream("GET", self._url, timeout=30, trust_env=False) as answer:
            before = ""
            for line in answer.iter_lines():
                # What is no event has a line before that names it.
                self.events += line.startswith("data: ") and not before
                before = line


def start(closing: ExitStack, folder: Path, schedule: str) -> tuple[Prometheus, str]:
    """Start the stack in this folder. Return the Prometheus that watches it, and the API stub's address."""
    nats, mongod = closing.enter_context(NatsServer()), closing.enter_context(Mongod())
    http, health = ports.free(), ports.free()
    environ = os.environ | {
        "NATS_URL": nats.url,
        "MONGO_URL": mongod.url,
        "MARKET_SOURCE": "simulated",
        "SCHEDULE": schedule,
        "HTTP_PORT": str(http),
        "HEALTH_PORT": str(health),
    }
    assert programs.start("stack", "provision", environ=environ, cwd=folder).wait() == 0
    for name in ("api_stub", "worker"):
        closing.callback(programs.start(name, environ=environ, cwd=folder).stop)
    targets = {"worker": [f"127.0.0.1:{health}"], "api_stub": [f"127.0.0.1:{http}"]}
    return closing.enter_context(Prometheus(targets)), f"http://127.0.0.1:{http}"


def watch(prometheus: Prometheus, seconds: float) -> bool:
    """Print each alert as it begins. Return whether none fired."""
    end, seen = time.monotonic() + seconds, set[tuple[str, str]]()
    while (left := end - time.monotonic()) > 0:
        now = {(name, state) for state in ("pending", "firing") for name in prometheus.alerts(state)}
        for name, state in sorted(now - seen):
            say(f"{time.strftime('%H:%M:%S')} {name} is {state}")
        seen |= now
        time.sleep(min(LOOK_SECONDS, left))
    return not any(state == "firing" for _, state in seen)


def told(prometheus: Prometheus) -> str:
    figures = {
        "slots stored in time": 'max(crypto_slots{state="stored"})',
        "late": 'max(crypto_slots{state="late"})',
        "missing": 'max(crypto_slots{state="missing"})',
        "scrapes": "sum(count_over_time(up[1d]))",
        "of them not answered": "sum(count_over_time((up == 0)[1d:15s])) or vector(0)",
    }
    return ", ".join(f"{name}: {prometheus.values(expression)}" for name, expression in figures.items())


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - for a person at a terminal


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quiet", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--schedule", metavar="CRON", default="*/15 * * * *")
    options = parser.parse_args()
    with ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        prometheus, address = start(closing, folder, options.schedule)
        if not eventually(lambda: prometheus.values('max(crypto_slots{state="stored"})')):
            say("Prometheus has no figures of the API stub")
            return 1
        listener = Listener(f"{address}/events/stream")
        say(f"Watching for {options.minutes:g} minutes")
        is_quiet = watch(prometheus, options.minutes * 60)
        say(f"{told(prometheus)}, events on the live page: {listener.events}")
    say("No alert fired." if is_quiet else "An alert fired.")
    return 0 if is_quiet and listener.events else 1


if __name__ == "__main__":
    sys.exit(main())
