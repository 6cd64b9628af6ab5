"""What can be done to each server and link of a harness."""

from collections.abc import Mapping

from crypto_updates.harness.control.faults import Fault, Faults, Target, Tell
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.link import Link
from crypto_updates.local.servers import Server


def of(crypto: Crypto, tell: Tell) -> Mapping[str, Target]:
    found = {
        "nats": _of_server(crypto.nats),
        "mongo": _of_server(crypto.mongo),
        "link": _of_link(crypto.link),
        "mongo_link": _of_link(crypto.mongo_link),
    }
    return {name: Target(name, faults, tell) for name, faults in found.items()}


def _of_server(server: Server) -> Faults:
    killed, frozen = Fault(server.kill, server.mend), Fault(server.freeze, server.thaw)
    undone = {"restart": Fault(server.restart), "thaw": Fault(server.thaw), "mend": Fault(server.mend)}
    return {"down": killed, "kill": killed, "freeze": frozen} | undone


def _of_link(link: Link) -> Faults:
    plain = (link.cut, link.hang, link.reset, link.half_open, link.drop_replies)
    faults = {fault.__name__: Fault(fault, link.heal) for fault in plain}
    return faults | {"slow": Fault(link.slow, link.heal, ("delay", "size")), "heal": Fault(link.heal)}
