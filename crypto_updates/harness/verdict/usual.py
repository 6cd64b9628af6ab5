"""The usual ports of NATS and MongoDB, for a server that has them in its code."""

from contextlib import suppress

from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.link import Link
from crypto_updates.local import ports
from crypto_updates.local.errors import PortTakenError

NATS_PORT, MONGO_PORT = 4222, 27017


def open_ports(crypto: Crypto) -> bool:
    """Lead them to this stack. False if both are taken, for example by servers of the user's own."""
    opened = False
    for link, port in _places(crypto):
        with suppress(PortTakenError, OSError):
            link.listen(port, within=0)
            opened = True
    return opened


def are_used(crypto: Crypto) -> bool:
    return any(port in link.used for link, port in _places(crypto))


def is_nats_taken(crypto: Crypto) -> bool:
    """True if another program listens where a server with this address in its code looks for NATS."""
    return NATS_PORT not in crypto.link.ports and not ports.is_free(NATS_PORT)


def _places(crypto: Crypto) -> list[tuple[Link, int]]:
    return [(crypto.link, NATS_PORT), (crypto.mongo_link, MONGO_PORT)]
