"""Three of each server against one: the latency of an event, and what the servers take when nothing happens.

Both are measured in the same run, on one machine, where the three share the processor and the disk.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import psutil

from crypto_updates.local import cluster, guard, ports, programs
from crypto_updates.local.servers import Mongod, NatsServer, Server
from stack import console, services
from tests.benchmarks import latency
from tests.benchmarks.footprint import MEGABYTE, cpu


def single(closing: ExitStack) -> tuple[Sequence[NatsServer], Sequence[Mongod]]:
    return [closing.enter_context(NatsServer())], [closing.enter_context(Mongod())]


def three(closing: ExitStack) -> tuple[Sequence[NatsServer], Sequence[Mongod]]:
    servers = [closing.enter_context(server) for server in cluster.nats_servers()]
    mongods = [closing.enter_context(member) for member in cluster.mongods()]
    cluster.unite(mongods)
    return servers, mongods


def idle(servers: Sequence[Server], seconds: float) -> dict[str, float]:
    """Resident megabytes, and the share of a core, of all of them together."""
    processes = [psutil.Process(server.pid) for server in servers]
    begin = sum(cpu(server.pid) for server in servers)
    time.sleep(seconds)
    taken = sum(cpu(server.pid) for server in servers) - begin
    return {"memory": sum(process.memory_info().rss for process in processes) / MEGABYTE, "cpu": taken / seconds}


def stack(
    closing: ExitStack, servers: Sequence[NatsServer], mongods: Sequence[Mongod], events: int, seconds: float
) -> dict[str, Any]:
    data = closing.enter_context(guard.folder())
    environ = os.environ | services.defaults(data) | {"LOG_LEVEL": "warning", "HTTP_PORT": str(ports.free())}
    urls = {"MONGO_URL": cluster.url(mongods), "NATS_URL": cluster.url(servers), "STREAM_REPLICAS": str(len(servers))}
    services.provision(environ | urls)
    stub = programs.start("api_stub", environ=environ | urls, cwd=data)
    closing.callback(stub.stop)
    found = asyncio.run(latency.compare(servers[0].url, urls["MONGO_URL"], events, len(servers)))
    return {"latency": found, "nats-server": idle(servers, seconds), "mongod": idle(mongods, seconds)}


def measure(events: int, seconds: float) -> dict[str, dict[str, Any]]:
    figures = {}
    for name, start in (("single", single), ("cluster", three)):
        with ExitStack() as closing, console.step(f"Latency and idle cost: {name}"):
            figures[name] = stack(closing, *start(closing), events, seconds)
    return figures
