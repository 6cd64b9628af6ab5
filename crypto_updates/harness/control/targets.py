"""What can be done to each server and link of a harness."""

from collections.abc import Mapping

from crypto_updates.harness.control.faults import Fault, Faults
from crypto_updates.harness.crypto import Crypto
from crypto_updates.harness.link import Link
from crypto_updates.local.servers import Server


def of(crypto: Crypto) -> Mapping[str, Faults]:
    servers = {"nats": crypto.nats, "mongo": crypto.mongo}
    links = {"link": crypto.link, "mongo_link": crypto.mongo_link}
    return {name: _of_server(server) for name, server in servers.items()} | {
        name: _of_link(link) for name, link in links.items()
    }


def _of_server(server: Server) -> Faults:
    killed, frozen = Fault(server.kill, server.mend), Fault(server.freeze, server.thaw)
    undone = {"restart": Fault(server.restart), "thaw": Fault(server.thaw), "mend": Fault(server.mend)}
    return {"down": killed, "kill": killed, "freeze": frozen} | undone


def _of_link(link: Link) -> Faults:
    plain = (link.cut, link.hang, link.reset, link.half_open, link.drop_replies)
    faults = {fault.__name__: Fault(fault, link.heal) for fault in plain}
    return faults | {"slow": Fault(link.slow, link.heal, ("delay", "size")), "heal": Fault(link.heal)}
