"""Hosts with a network of their own, which can be parted: network namespaces, and a router between them."""

import ctypes
import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from crypto_updates.local.process import Process
from crypto_updates.local.servers import Place
from tests import machine
from tests.machine import LackError, Need
from tests.support import eventually

# Addresses for trying out networks: https://www.rfc-editor.org/rfc/rfc2544
_ADDRESS, _ROUTER = "198.18.0.{}", "198.18.0.254"
_SECONDS = 20.0
# Of https://man7.org/linux/man-pages/man2/setns.2.html; Python has it from 3.12 on.
_CLONE_NEWNET = 0x40000000
_OWN = "/proc/thread-self/ns/net"


class Network:
    """`places`: so many hosts. They reach each other, and this thread reaches them, by their addresses.

    This thread, and each thread and process that it starts, is in the router's namespace while the `with` lasts. So
    the interfaces of the machine stay as they are, which other programs watch. A namespace ends with its last process,
    and takes its links along. Entering raises LackError where the machine has no namespaces.
    """

    def __init__(self, hosts: int) -> None:
        self._count = hosts
        self._cut: set[int] = set()
        self._closing = ExitStack()

    def __enter__(self) -> Self:
        machine.namespaces()
        with ExitStack() as closing:
            try:
                self._make(closing)
            except (OSError, subprocess.SubprocessError) as error:
                raise LackError(Need.NAMESPACES, getattr(error, "stderr", None) or error) from error
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def places(self) -> list[Place]:
        return [Place(_address(number), _inside(pid)) for number, pid in enumerate(self._hosts)]

    def cut(self, number: int) -> None:
        """Part this host from the others: what they send to each other is lost. This thread still reaches all."""
        self._cut.add(number)
        self._rules("add", number)

    def heal(self, *numbers: int) -> None:
        """Bring these hosts together with the others; without a number, all of them."""
        for number in self._cut & {*(numbers or self._cut)}:
            self._cut.remove(number)
            self._rules("del", number)

    def _rules(self, verb: str, number: int) -> None:
        """The router drops silently what a rule calls a blackhole."""
        rules = []
        for other in range(self._count):
            if other != number and other not in self._cut - {number}:
                rules.append(f"rule {verb} iif host{number} to {_address(other)} blackhole")
                rules.append(f"rule {verb} iif host{other} to {_address(number)} blackhole")
        _ip(*rules)

    def _make(self, closing: ExitStack) -> None:
        # The first process starts the guardian of all, which is not to be in the router's namespace: it would keep it.
        self._hosts = [_namespace(closing) for _ in range(self._count)]
        _enter_new(closing)
        _ip("link set lo up", f"address add {_ROUTER}/32 dev lo")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1", encoding="ascii")
        for number, host in enumerate(self._hosts):
            _ip(
                f"link add host{number} type veth peer name uplink netns {host}",
                f"link set host{number} up",
                f"route add {_address(number)}/32 dev host{number} src {_ROUTER}",
            )
            _ip(
                "link set lo up",
                f"address add {_address(number)}/32 dev uplink",
                "link set uplink up",
                f"route add default via {_ROUTER} dev uplink onlink",
                inside=host,
            )


def _address(number: int) -> str:
    return _ADDRESS.format(number + 1)


def _enter_new(closing: ExitStack) -> None:
    """Have this thread in a namespace of its own, until the end of the `with`. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    closing.callback(os.close, own)
    _check(libc.unshare(_CLONE_NEWNET))
    closing.callback(lambda: _check(libc.setns(own, _CLONE_NEWNET)))


def _check(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _namespace(closing: ExitStack) -> int:
    """A new one: the id of the process that holds it."""
    holder = Process(["unshare", "--net", "sleep", "infinity"])
    closing.callback(holder.stop)
    if not eventually(lambda: _name(f"/proc/{holder.pid}/ns/net") not in {None, _name(_OWN)}, _SECONDS):
        raise OSError("\n".join(holder.lines) or "unshare --net did not make a namespace")
    return holder.pid


def _name(namespace: str) -> str | None:
    try:
        return str(Path(namespace).readlink())
    except OSError:
        return None


def _inside(pid: int) -> Sequence[str]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


def _ip(*commands: str, inside: int = 0) -> None:
    """In the namespace of this thread, or of a process. Raises CalledProcessError."""
    subprocess.run(
        [*(_inside(inside) if inside else ()), "ip", "-batch", "-"],
        input="\n".join([*commands, ""]),
        check=True,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
