"""A disk for a server's data, that loses its power, fills up or fails at will: an ext4 image on a loop device."""

import contextlib
import ctypes
import fcntl
import functools
import os
import signal
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, Self

from tests import machine
from tests.machine import LackError, Need
from tests.support import eventually

# include/uapi/linux/ext4.h: EXT4_IOC_SHUTDOWN, and EXT4_GOING_FLAGS_NOLOGFLUSH: what is not on the disk now is lost.
_SHUTDOWN, _NO_FLUSH = 0x8004587D, 2
_CLONE_NEWNS = 0x20000
_SECONDS = 20.0
_BLOCK = 4096


class Running(Protocol):
    """A server, a service or another process. `status` is None while it runs."""

    @property
    def status(self) -> int | None: ...
    def kill(self, sig: signal.Signals) -> None: ...


class Disk:
    """Mounted at `path` while entered. Entering raises LackError where the machine has no such disk.

    It is what the kernel has written to the device that outlives a cut: a device that loses what it took, or tears a
    write, is not simulated.
    """

    def __init__(self, folder: Path, name: str = "disk", megabytes: int = 4096) -> None:
        self.path = folder / name
        self._image = folder / f"{name}.img"
        self._ballast = self.path / "ballast"
        self._size = megabytes << 20

    def __enter__(self) -> Self:
        machine.disks()
        try:
            _private_mounts()
            self._make()
            self.mount()
        except (OSError, subprocess.SubprocessError) as error:
            raise LackError(Need.DISKS, getattr(error, "stderr", None) or error) from error
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self.path.is_mount():
                self.unmount()
        finally:
            self._image.unlink()

    def mount(self) -> None:
        """As at the start of a machine: what the journal has is replayed. Raises CalledProcessError."""
        _run("mount", "-t", "ext4", "-o", "loop,errors=remount-ro", str(self._image), str(self.path))

    def unmount(self) -> None:
        """Raises CalledProcessError where a process still has a file open here, and then detaches the disk."""
        try:
            _run("umount", str(self.path))
        except subprocess.CalledProcessError:
            _run("umount", "--lazy", str(self.path))
            raise

    def cut(self) -> None:
        """The power is off: the disk keeps what had been written to it, and every later access fails."""
        with self._opened() as file:
            fcntl.ioctl(file, _SHUTDOWN, struct.pack("I", _NO_FLUSH))

    def sync(self) -> None:
        """Everything until now is on the disk."""
        _run("sync", "--file-system", str(self.path))

    def fail(self) -> None:
        """The kernel finds an error on the disk, and makes it read-only."""
        device = os.minor(self.path.stat().st_dev)
        Path(f"/sys/fs/ext4/loop{device}/trigger_fs_error").write_text("planted", encoding="ascii")

    def repair(self) -> None:
        """What an operator does after `fail`, when nobody uses the disk any more."""
        self.unmount()
        # 1: errors were found, and corrected.
        _run("e2fsck", "-p", str(self._image), good=(0, 1))
        self.mount()

    def fill(self) -> None:
        """Leave no block free."""
        size, piece = 0, self._size
        with self._ballast.open("wb") as file:
            while piece >= _BLOCK:
                try:
                    os.posix_fallocate(file.fileno(), size, piece)
                    size += piece
                except OSError:
                    piece //= 2

    def free(self) -> None:
        self._ballast.unlink()

    def _make(self) -> None:
        self.path.mkdir(parents=True)
        with self._image.open("wb") as file:
            file.truncate(self._size)
        # -m 0: nothing is kept back for root, or its processes would not find the disk full.
        _run("mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=0", "-J", "size=8", str(self._image))

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        file = os.open(self.path, os.O_RDONLY)
        try:
            yield file
        finally:
            os.close(file)


def power_cut(processes: Sequence[Running], disks: Sequence[Disk]) -> None:
    """The machine of these processes loses its power, at one moment, and gets it back: the disks are mounted again.

    The processes are stopped first, so that none finds out that its disk is gone and says so.
    """
    for process in processes:
        process.kill(signal.SIGSTOP)
    for disk in disks:
        disk.cut()
    for process in processes:
        process.kill(signal.SIGKILL)
    assert eventually(lambda: all(process.status is not None for process in processes), _SECONDS)
    for disk in disks:
        disk.unmount()
        disk.mount()


@functools.cache
def _private_mounts() -> None:
    """The mounts of this process and its children are theirs alone from here on, and end with the last of them.

    So nothing stays mounted, even where the tests are killed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS):
        raise OSError(ctypes.get_errno(), "unshare")
    _run("mount", "--make-rprivate", "/")


def _run(*command: str, good: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode not in good:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
