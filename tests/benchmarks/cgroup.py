"""What a group of processes takes, as Linux counts it: https://docs.kernel.org/admin-guide/cgroup-v2.html, and v1."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
IS_V2 = (ROOT / "cgroup.controllers").exists()
NANOSECONDS, MICROSECONDS = 1e9, 1e6


class Cgroup(NamedTuple):
    """`path` as /proc/PID/cgroup has it, for each controller."""

    cpu_path: str
    memory_path: str

    @classmethod
    def of(cls, pid: int, *, apart: str | None = None) -> "Cgroup":
        """The process's group. `apart`: the name of the group that it gets if it is in none but that of all."""
        found = cls(_path(pid, "cpuacct"), _path(pid, "memory"))
        if found.cpu_path != "/" or apart is None:
            return found
        own = _folder("cpuacct", f"/{apart}")
        own.mkdir(exist_ok=True)
        (own / "cgroup.procs").write_text(str(pid), encoding="ascii")
        return cls(f"/{apart}", found.memory_path)

    def cpu(self) -> float:
        """Seconds until now, those of processes that have ended included."""
        folder = _folder("cpuacct", self.cpu_path)
        if IS_V2:
            return _figures(folder / "cpu.stat")["usage_usec"] / MICROSECONDS
        return int((folder / "cpuacct.usage").read_text(encoding="ascii")) / NANOSECONDS

    def memory(self) -> int:
        """Bytes, without the files' pages that the kernel may drop."""
        folder = _folder("memory", self.memory_path)
        figures = _figures(folder / "memory.stat")
        if IS_V2:
            return figures["anon"] + figures["kernel"]
        used = int((folder / "memory.usage_in_bytes").read_text(encoding="ascii"))
        return used - figures["total_active_file"] - figures["total_inactive_file"]


def _path(pid: int, controller: str) -> str:
    for line in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or (IS_V2 and not controllers):
            return path
    raise LookupError(f"process {pid} has no cgroup of {controller}")


def _folder(controller: str, path: str) -> Path:
    return (ROOT if IS_V2 else ROOT / controller) / path.lstrip("/")


def _figures(file: Path) -> dict[str, int]:
    return {
        name: int(value) for name, value in (line.split() for line in file.read_text(encoding="ascii").splitlines())
    }
