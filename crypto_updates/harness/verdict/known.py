"""What the first items found out about the server; all lanes share it."""

from dataclasses import dataclass, field

from crypto_updates.harness.verdict.footprint import Footprint


@dataclass
class Known:
    """`footprint`: what a good event does to MongoDB. `noise`: the collections that change without any event.
    `logs`: those that any message is written to, an invalid one included. `shows_clock`: the URL watched answers with
    times that change without any event.

    `quiet`: seconds without a reaction after which none belongs to an earlier event. `look`: seconds to wait for a
    reaction that should not come. `usual_ports`: it looks there for NATS or MongoDB. `library`, `version`:
    of its NATS client.
    """

    footprint: Footprint | None = None
    noise: set[str] = field(default_factory=set)
    logs: set[str] = field(default_factory=set)
    shows_clock: bool = False
    quiet: float = 0.3
    look: float = 0.5
    asks_market: bool = False
    usual_ports: bool = False
    library: str = ""
    version: str = ""
