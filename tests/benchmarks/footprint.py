"""What the services take: memory and CPU idle and under load, and the time from their start to their first event.

Each runs in an environment with the packages of its image. Those of the tests cost up to 5 MB: httpx imports rich,
pygments and click where they are installed.
"""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import psutil

from crypto_updates.local import guard, ports, programs
from stack import console
from tests.benchmarks.drain import Rig
from tests.support import ROOT

MEGABYTE = 1024**2
NANOSECONDS = 1e9
# The API stub's memory is compared from so large a part of the events on.
FIRST_PART = 10
# Until what the start of an API stub has left behind is done.
SETTLE_SECONDS = 5.0


def environment(closing: ExitStack, service: str) -> Path:
    """The Python of an environment with the packages of the service's image."""
    folder = closing.enter_context(guard.folder())
    python, uv = folder / "bin" / "python", Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True)
    lock = ("--require-hashes", "--requirement", ROOT / service / "requirements.lock")
    subprocess.run([uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", python, *lock], check=True)
    return python


def cpu(pid: int) -> float:
    """Seconds until now: by the scheduler on Linux, because a minute at rest has few of psutil's ticks of 10 ms.

    The threads that have ended are not counted then.
    """
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    counted = [int(file.read_text(encoding="ascii").split()[0]) for file in threads]
    return sum(counted) / NANOSECONDS if counted else float(sum(psutil.Process(pid).cpu_times()[:2]))


class Watched:
    """A service from its start on."""

    def __init__(self, rig: Rig, name: str, python: Path, **environ: str) -> None:
        self.began = time.perf_counter()
        own = {"HTTP_PORT": str(ports.free()), "HEALTH_PORT": str(ports.free()), "LOG_LEVEL": "info"}
        self.process = programs.start(name, environ=rig.environ | own | environ, cwd=rig.data, python=python)

    def memory(self) -> float:
        """Resident megabytes."""
        return float(psutil.Process(self.process.pid).memory_info().rss / MEGABYTE)

    def cpu(self) -> float:
        return cpu(self.process.pid)

    def idle(self, seconds: float) -> dict[str, float]:
        begin = self.cpu()
        time.sleep(seconds)
        return {"memory": self.memory(), "cpu": (self.cpu() - begin) / seconds}


def worker(rig: Rig, python: Path, seconds: float) -> dict[str, float]:
    """Megabytes, the share of a core, and seconds from its start to its first event."""
    watched = Watched(rig, "worker", python, SCHEDULE="@daily")
    try:
        watched.process.wait_for_line("[PUBLISH]", 30)
        start = time.perf_counter() - watched.began
        return watched.idle(seconds) | {"start": start}
    finally:
        watched.process.stop()


def resting(rig: Rig, python: Path, seconds: float) -> dict[str, float]:
    """An API stub's megabytes and share of a core once it has stored what there was, an event or two."""
    watched = Watched(rig, "api_stub", python, LOG_LEVEL="warning")
    try:
        rig.stored(rig.events)
        time.sleep(SETTLE_SECONDS)
        return watched.idle(seconds)
    finally:
        watched.process.stop()


def loaded(rig: Rig, python: Path) -> dict[str, float]:
    """An API stub's seconds until its first event, its memory when a part is stored and when all is, and its CPU."""
    watched = Watched(rig, "api_stub", python, LOG_LEVEL="warning")
    try:
        rig.stored(1, 0.002)
        figures = {"start": time.perf_counter() - watched.began}
        rig.stored(rig.events // FIRST_PART)
        figures["memory of a part"], begin = watched.memory(), watched.cpu()
        rig.stored(rig.events)
        figures["memory of all"] = watched.memory()
        figures["seconds an event"] = (watched.cpu() - begin) / (rig.events * (1 - 1 / FIRST_PART))
        return figures
    finally:
        watched.process.stop()


def measure(events: int, seconds: float) -> dict[str, dict[str, float]]:
    with ExitStack() as closing:
        with console.step("The packages of the images"):
            pythons = {service: environment(closing, service) for service in ("worker", "api_stub")}
        rest = Rig(closing, 1)
        with console.step("The worker"):
            figures = {"worker": worker(rest, pythons["worker"], seconds)}
        with console.step("The API stub at rest"):
            stub = resting(rest, pythons["api_stub"], seconds)
        rig = Rig(closing, events)
        with console.step("The API stub under load"):
            return figures | {"api_stub": stub | loaded(rig, pythons["api_stub"])}
