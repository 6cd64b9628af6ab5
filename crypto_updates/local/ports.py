"""Which port a server may take on the loopback interface."""

import secrets
import socket

from crypto_updates.local.errors import PortTakenError

# Below the range that Linux and macOS draw outgoing ports from. A port out of that range can be taken by any client
# while its server is down for a restart, even by the one that is reconnecting to it, which then talks to itself.
_FIRST, _LAST = 20_000, 32_000
_ATTEMPTS = 100


def free(preferred: int = 0) -> int:
    """The preferred port, or else any other that nobody holds now.

    It is not given out again while this process lives, here or in another stack; any other program may be quicker.
    """
    others = (_FIRST + secrets.randbelow(_LAST - _FIRST) for _ in range(_ATTEMPTS))
    for port in (preferred, *others):
        if port and is_free(port) and _reserve(port):
            return port
    raise PortTakenError(f"no free port found between {_FIRST} and {_LAST} in {_ATTEMPTS} attempts")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _reserve(port: int) -> bool:
    """Hold the UDP port of the same number, which no server here needs, and which is free again however we end."""
    mark = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        mark.bind(("127.0.0.1", port))
    except OSError:
        mark.close()
        return False
    mark.detach()
    return True
