"""Where a service listens, by name or address, IPv4 or IPv6."""

import errno
import socket


def listen(host: str, port: int) -> socket.socket:
    """Listen on the host's IPv4 address, or else on its IPv6 address; `::` takes both. Raises OSError with strerror."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError as error:
        raise OSError(errno.EINVAL, "not a host name") from error
    family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server(address, family=family, dualstack_ipv6=both)
