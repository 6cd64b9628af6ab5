import os
import secrets
import socket

from crypto_updates.local.errors import PortTakenError

# Below the range of outgoing ports on Linux and macOS. While a server restarts, a client may get a port of that range,
# even the client that reconnects to the server, which then talks to itself.
_FIRST, _LAST = 20_000, 32_000
_ATTEMPTS = 100
# The file descriptors that keep other processes of ours from the ports of this one.
_marks: dict[int, int] = {}


def free(preferred: int = 0) -> int:
    """The preferred port if it is free, or else another free one.

    No process of ours gets it again while this process lives, or until `release`. Another program may still take it
    first.
    """
    others = (_FIRST + secrets.randbelow(_LAST - _FIRST) for _ in range(_ATTEMPTS))
    for port in (preferred, *others):
        if port and is_free(port) and _reserve(port):
            return port
    raise PortTakenError(f"no free port found between {_FIRST} and {_LAST} in {_ATTEMPTS} attempts")


def release(port: int) -> None:
    """Let others have a port that `free` gave. Without it, a process that uses many ports would run out of files."""
    if (mark := _marks.pop(port, None)) is not None:
        os.close(mark)


def is_free(port: int) -> bool:
    return problem(port) is None


def problem(port: int) -> str | None:
    """Why this process cannot listen there on the loopback interface."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return error.strerror
        return None


def check(option: str, port: int) -> None:
    """Raises PortTakenError if the port that an option asks for is not free. 0 is any free one."""
    if port and (found := problem(port)):
        raise PortTakenError(f"{option} {port}: {found}; accepted: a free port")


def _reserve(port: int) -> bool:
    """Bind the UDP port of this number, which no server here uses: no other process of ours then takes the port.

    The system frees it, however this process ends.
    """
    mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        mark.bind(("127.0.0.1", port))
    except OSError:
        mark.close()
        return False
    _marks[port] = mark.detach()
    return True
