"""What the services take: memory and CPU idle and under load, and the time from their start to their first event."""

import time
from contextlib import ExitStack

import psutil

from crypto_updates.local import ports, programs
from stack import console
from tests.benchmarks.drain import Rig

MEGABYTE = 1024**2
# The API stub's memory is compared from so large a part of the events on.
FIRST_PART = 10


class Watched:
    """A service from its start on."""

    def __init__(self, rig: Rig, name: str, **environ: str) -> None:
        self.began = time.perf_counter()
        own = {"HTTP_PORT": str(ports.free()), "HEALTH_PORT": str(ports.free()), "LOG_LEVEL": "info"}
        self.process = programs.start(name, environ=rig.environ | own | environ, cwd=rig.data)
        self._seen = psutil.Process(self.process.pid)

    def memory(self) -> float:
        """Resident megabytes."""
        return float(self._seen.memory_info().rss / MEGABYTE)

    def cpu(self) -> float:
        """Seconds until now."""
        return sum(self._seen.cpu_times()[:2])

    def idle(self, seconds: float) -> dict[str, float]:
        begin = self.cpu()
        time.sleep(seconds)
        return {"memory": self.memory(), "cpu": (self.cpu() - begin) / seconds}


def worker(rig: Rig, seconds: float) -> dict[str, float]:
    """Megabytes, the share of a core, and seconds from its start to its first event."""
    watched = Watched(rig, "worker", SCHEDULE="@daily")
    try:
        watched.process.wait_for_line("[PUBLISH]", 30)
        start = time.perf_counter() - watched.began
        return watched.idle(seconds) | {"start": start}
    finally:
        watched.process.stop()


def api_stub(rig: Rig, seconds: float) -> dict[str, float]:
    """As the worker's; and its memory when a part of the events is stored, and when all are."""
    watched = Watched(rig, "api_stub", LOG_LEVEL="warning")
    try:
        rig.stored(1, 0.002)
        figures = {"start": time.perf_counter() - watched.began}
        rig.stored(rig.events // FIRST_PART)
        figures["memory of a part"], begin = watched.memory(), watched.cpu()
        rig.stored(rig.events)
        figures["memory of all"] = watched.memory()
        figures["seconds an event"] = (watched.cpu() - begin) / (rig.events * (1 - 1 / FIRST_PART))
        return figures | watched.idle(seconds)
    finally:
        watched.process.stop()


def measure(events: int, seconds: float) -> dict[str, dict[str, float]]:
    with ExitStack() as closing:
        with console.step("The worker"):
            figures = {"worker": worker(Rig(closing, 1), seconds)}
        rig = Rig(closing, events)
        with console.step("The API stub"):
            return figures | {"api_stub": api_stub(rig, seconds)}
