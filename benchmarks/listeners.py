"""Clients of the event stream, in a process of their own so that they cost the API stub's nothing.

    python -m benchmarks.listeners PORT CLIENTS STALLED

They listen until the standard input ends; what they were told is then written as JSON. The stalled ones take nothing.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import sys
import time
from collections import Counter
from contextlib import ExitStack
from datetime import datetime
from socket import SO_RCVBUF, SOL_SOCKET, socket
from typing import Any

from crypto_updates.clock.slots import percentile

ASKED = b"GET /events/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
TOKEN = re.compile(rb"^id: (\w+)$", re.MULTILINE)
RECEIVED = re.compile(rb'"received_at":"([^"]+)"')
SMALLEST_BUFFER = 4096


class Listener(asyncio.Protocol):
    """`events` counts each by its token; `latencies` are seconds from `received_at` to here, the storing included."""

    def __init__(self) -> None:
        self.events: Counter[bytes] = Counter()
        self.skipped = self.states = 0
        self.latencies: list[float] = []
        self.lost = False
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)  # noqa: S101 - what asyncio's types do not say
        transport.write(ASKED)

    def connection_lost(self, _: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        *messages, self._rest = (self._rest + data).split(b"\n\n")
        for message in messages:
            # The sizes of HTTP's chunks stand between.
            if found := TOKEN.search(message):
                self._add(found[1], message)
            self.states += b"event: state\n" in message
            self.skipped += b"event: skipped\n" in message

    def _add(self, token: bytes, message: bytes) -> None:
        self.events[token] += 1
        if found := RECEIVED.search(message):
            self.latencies.append(time.time() - datetime.fromisoformat(found[1].decode()).timestamp())


def stalled(port: int) -> socket:
    client = socket()
    client.setsockopt(SOL_SOCKET, SO_RCVBUF, SMALLEST_BUFFER)
    client.connect(("127.0.0.1", port))
    client.sendall(ASKED)
    return client


async def listen(port: int, clients: int) -> list[Listener]:
    loop = asyncio.get_running_loop()
    opened = [await loop.create_connection(Listener, "127.0.0.1", port) for _ in range(clients)]
    await asyncio.to_thread(sys.stdin.read)
    return [listener for _, listener in opened]


def summary(listeners: list[Listener]) -> dict[str, Any]:
    """Of all listeners; `least` and `most` are of the one that was told the fewest, and the most, events."""
    counts = [listener.events.total() for listener in listeners]
    latencies = sorted(latency for listener in listeners for latency in listener.latencies)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "least": min(counts, default=0),
        "most": max(counts, default=0),
        "repeated": sum(listener.events.total() - len(listener.events) for listener in listeners),
        "without_state": sum(not listener.states for listener in listeners),
        "told_of_skipping": sum(listener.skipped > 0 for listener in listeners),
        "lost": sum(listener.lost for listener in listeners),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
    } | {f"p{percent}_ms": round(1000 * (percentile(latencies, percent) or 0), 1) for percent in (50, 99, 100)}


def main() -> None:
    port, clients, slow = map(int, sys.argv[1:])
    with ExitStack() as closing:
        for _ in range(slow):
            closing.enter_context(stalled(port))
        json.dump(summary(asyncio.run(listen(port, clients))), sys.stdout)


if __name__ == "__main__":
    main()
