"""The HTTP API under load: 20 connections that ask for one path, beside a worker with a slot each second.

Meanwhile another client asks for another path, and MongoDB says which of the worker's events were stored, and when.
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psutil
from pymongo import MongoClient

from crypto_updates.local import ports, programs
from crypto_updates.local.process import Process
from stack import console
from tests.benchmarks import answers
from tests.benchmarks.drain import Rig
from tests.benchmarks.quantile import p50, p99
from tests.benchmarks.table import Figures, Row, milliseconds, table
from tests.support import ROOT, eventually

CONNECTIONS, EVENTS = 20, 20_000
# What HTTP alone costs here.
LIMIT = "/livez"
DAY = "/prices?coin=bitcoin"
PATHS = {
    LIMIT: LIMIT,
    "/events?limit=5": "/events?limit=5",
    "/stats": "/stats?coin=bitcoin",
    "/slots?hours=24": "/slots?hours=24",
    "/prices of a day": DAY,
    # The first `format` gives the times, the second one, the caller's, the number.
    "/prices of a day, each of another span": f"{DAY}&since={{day}}.{{{{number:06}}}}Z",
    "/prices of a year": f"{DAY}&since={{year}}Z",
    "/metrics": "/metrics",
}
# How many times the CPU time of HTTP alone a path may take.
MOST = {"/slots?hours=24": 15, "/prices of a day": 4.5}
# The path that another client asks for, and the one for when that is the path with the load.
OTHERS = ("/events?limit=1", "/coins")
NOBODY = "no other request"
BEAT = {"SCHEDULE": "* * * * * *", "FEED": "beat", "COINS": "solana"}


class Bench:
    def __init__(self, closing: ExitStack) -> None:
        self._rig = Rig(closing, 0)
        url = self._rig.environ["MONGO_URL"]
        answers.fill(url, answers.documents(EVENTS, 1, answers.newest()))
        self._events = closing.enter_context(MongoClient[dict[str, Any]](url, directConnection=True)).crypto.events
        self._port = ports.free()
        own = {"HTTP_PORT": str(self._port), "SCHEDULE": "*/15 * * * *", "FEED": answers.FEED}
        stub = self._start(closing, "api_stub", **own)
        self._processes = {"api_stub": psutil.Process(stub.pid), "mongod": psutil.Process(self._rig.mongod.pid)}
        self._start(closing, "worker", HEALTH_PORT=str(ports.free()), **BEAT)
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", trust_env=False) as http:
            if not eventually(lambda: answers.is_ready(http) and self._beats()):
                raise TimeoutError(f"127.0.0.1:{self._port}/readyz")

    def _start(self, closing: ExitStack, name: str, **environ: str) -> Process:
        process = programs.start(name, environ=self._rig.environ | environ, cwd=self._rig.data)
        closing.callback(process.stop)
        return process

    def _beats(self) -> int:
        return self._events.count_documents({"_id": {"$gte": "beat@", "$lt": "beatA"}})

    def under(self, path: str | None, seconds: float) -> dict[str, float]:
        """What so many seconds of load give, and leave to the others."""
        figures, begin = dict[str, float](), time.time()
        with self._caller(1, seconds, OTHERS[path is not None and path.startswith("/events")]) as probe:
            if path:
                figures = self._asked(path, seconds)
            others, _ = _answers(probe)
        return figures | {"other p50": p50(others), "other p99": p99(others)} | self._stored(begin, time.time())

    def _asked(self, path: str, seconds: float) -> dict[str, float]:
        before = self._cpu()
        with self._caller(CONNECTIONS, seconds, path) as caller:
            took, refused = _answers(caller)
        each = {name: (cpu - before[name]) / max(len(took), 1) for name, cpu in self._cpu().items()}
        found = {"p50": p50(took), "p99": p99(took)} if len(took) > 1 else {}
        return {"requests a second": len(took) / seconds, "refused": refused} | found | each

    @contextmanager
    def _caller(self, connections: int, seconds: float, path: str) -> Iterator[subprocess.Popen[str]]:
        command = [
            sys.executable,
            "-m",
            "tests.benchmarks.caller",
            str(self._port),
            str(connections),
            str(seconds),
            path,
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as caller:
            yield caller

    def _cpu(self) -> dict[str, float]:
        """Seconds of each process until now."""
        return {name: sum(process.cpu_times()[:2]) for name, process in self._processes.items()}

    def _stored(self, begin: float, end: float) -> dict[str, float]:
        """How many slots there were from `begin` to `end`, how many of them were stored, and how late, in seconds."""
        slots = [datetime.fromtimestamp(second, UTC) for second in range(int(begin) + 1, int(end))]
        found = self._events.find({"_id": {"$gte": "beat@", "$lt": "beatA"}, "timestamp": {"$in": slots}})
        lags = [(event["received_at"] - event["timestamp"]).total_seconds() for event in found]
        late = {"lag p50": p50(lags), "lag p99": p99(lags)} if len(lags) > 1 else {}
        return {"slots": len(slots), "slots stored": len(lags)} | late


def _answers(caller: subprocess.Popen[str]) -> tuple[list[float], int]:
    """The seconds of its answers, and how many requests were refused with a 503."""
    told, _ = caller.communicate()
    if caller.returncode:
        raise RuntimeError(f"the caller ended with status {caller.returncode}")
    found = json.loads(told)
    return found["took"], found["refused"]


def goals(figures: Figures) -> list[Row]:
    """A third of the CPU time that each path took when they were set, and all slots."""
    kept = min(of["slots stored"] / of["slots"] for of in figures.values())
    cpu = {name: of["api_stub"] + of["mongod"] for name, of in figures.items() if "api_stub" in of}
    paths = [
        (f"CPU of `{name}` / of `{LIMIT}`, each by 20 connections", f"{cpu[name] / cpu[LIMIT]:.1f}", f"at most {most}")
        for name, most in MOST.items()
    ]
    return [*paths, ("slots stored under a flood of any path", f"{100 * kept:.0f} %", "100 %")]


def section(figures: Figures) -> list[str]:
    """What docs/benchmarks.md says of it."""
    answered = [
        (
            name,
            f"{of['requests a second']:,.0f}",
            milliseconds(of["p50"]) if "p50" in of else "none",
            f"{of['refused']:.0f}",
            milliseconds(of["api_stub"]),
            milliseconds(of["mongod"]),
        )
        for name, of in figures.items()
        if "requests a second" in of
    ]
    left = [
        (
            name,
            milliseconds(of["other p50"]),
            milliseconds(of["other p99"]),
            f"{of['slots stored']:.0f} of {of['slots']:.0f}",
            *(milliseconds(of[name]) if name in of else "none" for name in ("lag p50", "lag p99")),
        )
        for name, of in figures.items()
    ]
    return [
        (
            "20 connections that ask for one path again and again, with 20,000 events of `*/15` in MongoDB, beside a"
            " worker with a slot each second. `/livez` is what HTTP alone costs. CPU is that of one request."
        ),
        table(("path", "requests a second", "p50", "503s", "API stub's CPU", "mongod's CPU"), answered),
        (
            "What such a load leaves to others: to a client that asks for another path, and to the worker's events."
            " Late is the time from a slot until its event was received."
        ),
        table(("load", "another path, p50", "p99", "slots stored", "late, p50", "p99"), left),
    ]


def measure(seconds: float) -> dict[str, Any]:
    """Of each path under load, and of no load."""
    ago = {"day": timedelta(days=1), "year": timedelta(days=365)}
    times = {name: f"{datetime.now(UTC) - span:%Y-%m-%dT%H:%M:%S}" for name, span in ago.items()}
    found = dict[str, Any]()
    with ExitStack() as closing:
        bench = Bench(closing)
        found[NOBODY] = bench.under(None, seconds)
        for name, path in PATHS.items():
            with console.step(f"{CONNECTIONS} connections: {name}"):
                found[name] = bench.under(path.format(**times), seconds)
    return found
