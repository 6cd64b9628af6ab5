"""Hosts with a network of their own, which can be parted: network namespaces, and a router between them."""

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
_NETWORKS = 256
_NETWORK = "198.18.{}"
_ROUTER, _US = 253, 254
_SECONDS = 20.0


class Network:
    """`places`: so many hosts. They reach each other, and this process reaches them, by their addresses.

    A namespace ends with its last process, and takes its links along: nothing outlives this process. Entering raises
    LackError where the machine has no namespaces.
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
        return [Place(self._address(number), _inside(pid)) for number, pid in enumerate(self._hosts)]

    def cut(self, number: int) -> None:
        """Part this host from the others: what they send to each other is lost. This process still reaches all."""
        self._cut.add(number)
        self._rules("add", number)

    def heal(self) -> None:
        while self._cut:
            self._rules("del", self._cut.pop())

    def _address(self, number: int) -> str:
        return f"{self._network}.{number + 1}"

    def _rules(self, verb: str, number: int) -> None:
        """The router drops silently what a rule calls a blackhole."""
        rules = []
        for other in range(self._count):
            if other != number and other not in self._cut - {number}:
                rules.append(f"rule {verb} iif host{number} to {self._address(other)} blackhole")
                rules.append(f"rule {verb} iif host{other} to {self._address(number)} blackhole")
        _ip(self._router, *rules)

    def _make(self, closing: ExitStack) -> None:
        self._router, *self._hosts = [_namespace(closing) for _ in range(1 + self._count)]
        self._network = self._connect()
        us, router = f"{self._network}.{_US}", f"{self._network}.{_ROUTER}"
        _ip(
            self._router,
            "link set lo up",
            f"address add {router}/32 dev lo",
            "link set uplink up",
            f"route add {us}/32 dev uplink",
        )
        _run(*_inside(self._router), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        for number, host in enumerate(self._hosts):
            _ip(0, f"link add host{number} netns {self._router} type veth peer name uplink netns {host}")
            _ip(self._router, f"link set host{number} up", f"route add {self._address(number)}/32 dev host{number}")
            _ip(
                host,
                "link set lo up",
                f"address add {self._address(number)}/32 dev uplink",
                "link set uplink up",
                f"route add default via {router} dev uplink onlink",
            )

    def _connect(self) -> str:
        """The first three bytes of the network's addresses. The name of its link keeps others from taking it."""
        for number in range(os.getpid() % _NETWORKS, os.getpid() % _NETWORKS + _NETWORKS):
            network, link = _NETWORK.format(number % _NETWORKS), f"chaos{number % _NETWORKS}"
            try:
                _ip(0, f"link add {link} type veth peer name uplink netns {self._router}")
            except subprocess.CalledProcessError as error:
                if "exists" not in error.stderr:
                    raise
                continue
            address = f"{network}.{_US}"
            _ip(
                0,
                f"address add {address}/32 dev {link}",
                f"link set {link} up",
                f"route add {network}.0/24 via {network}.{_ROUTER} dev {link} onlink src {address}",
            )
            return network
        raise OSError(f"all {_NETWORKS} networks are taken")


def _namespace(closing: ExitStack) -> int:
    """A new one: the id of the process that holds it."""
    holder = Process(["unshare", "--net", "sleep", "infinity"])
    closing.callback(holder.stop)
    if not eventually(lambda: _name(holder.pid) not in {None, _name(os.getpid())}, _SECONDS):
        raise OSError("\n".join(holder.lines) or "unshare --net did not make a namespace")
    return holder.pid


def _name(pid: int) -> str | None:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return None


def _inside(pid: int) -> Sequence[str]:
    return ("nsenter", f"--net=/proc/{pid}/ns/net")


def _ip(pid: int, *commands: str) -> None:
    """In the namespace of this process; 0 is our own. Raises CalledProcessError."""
    _run(*(_inside(pid) if pid else ()), "ip", "-batch", "-", given="\n".join([*commands, ""]))


def _run(*command: str, given: str = "") -> None:
    subprocess.run(command, input=given, check=True, capture_output=True, text=True, timeout=_SECONDS)
