"""How fast the HTTP API answers: 20 clients at once, over 100,000 stored events, while more are being stored.

    python -m benchmarks.api [--events 100000] [--clients 20] [--seconds 20] [--pause 0] [--rate 100] [--json FILE]

Each client asks for the next path as soon as it has the answer to the last and has paused. The limit in the same run
is /livez, which only says that the process runs: what an answer costs beyond that is the API's own.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nats
from pymongo import MongoClient

from crypto_updates.bus.event import identity, text
from crypto_updates.clock.slots import percentile
from crypto_updates.local import guard, ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from stack import console, services

PATHS = ("/stats?coin=bitcoin", "/deviation?coin=bitcoin", "/events")
COINS = ("bitcoin", "ethereum", "matic-network")
BULK = 5000
Latencies = dict[str, list[float]]


def quotes(number: int, at: datetime) -> list[dict[str, Any]]:
    return [
        {"coin": coin, "symbol": coin[:3], "price": 100.0 + number % 97, "market_cap": 1e9, "change_24h": 0.5}
        | {"currency": "usd", "updated_at": at}
        for coin in COINS
    ]


def stored(count: int, now: datetime) -> Iterator[dict[str, Any]]:
    """Events of `*/15`, the last of them now."""
    for number in range(count):
        slot = now - timedelta(minutes=15 * (count - number))
        about = {"event": "CRYPTO_UPDATE", "timestamp": slot, "source": "simulated", "data": quotes(number, slot)}
        yield {"_id": identity("crypto", slot)} | about | {"received_at": slot, "stream_seq": number}


def fill(url: str, count: int) -> None:
    with MongoClient[dict[str, Any]](url, directConnection=True) as client:
        events = stored(count, datetime.now(UTC).replace(microsecond=0))
        while bulk := list(itertools.islice(events, BULK)):
            client.crypto.events.insert_many(bulk, ordered=False)


async def publish(url: str, rate: float, done: asyncio.Event) -> int:
    """So many events a second until it is done; returns how many they were."""
    client = await nats.connect(url)
    js, count, begin = client.jetstream(), 0, time.monotonic()
    while not done.is_set():
        at = datetime.now(UTC)
        body = {"event": "CRYPTO_UPDATE", "timestamp": text(at), "data": quotes(count, at)}
        await js.publish(
            "crypto.updates", json.dumps(body, default=str).encode(), headers={"Nats-Msg-Id": f"bench@{count}"}
        )
        count += 1
        await asyncio.sleep(max(0.0, begin + count / rate - time.monotonic()))
    await client.close()
    return count


async def ask(port: int, paths: Sequence[str], pause: float, *, first: int, until: float) -> Latencies:
    """One client, over a connection that it keeps."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    found: Latencies = defaultdict(list)
    for path in itertools.islice(itertools.cycle(paths), first, None):
        if time.monotonic() > until:
            break
        begin = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(size)
        found[path].append(time.perf_counter() - begin)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{path}: {head.decode()}")
        await asyncio.sleep(pause)
    writer.close()
    return found


async def measure(options: argparse.Namespace, port: int, nats_url: str) -> dict[str, Any]:
    done = asyncio.Event()
    publishing = asyncio.create_task(publish(nats_url, options.rate, done))
    until = time.monotonic() + options.seconds
    each = await asyncio.gather(
        *(ask(port, options.paths, options.pause, first=n, until=until) for n in range(options.clients))
    )
    done.set()
    figures: dict[str, Any] = {"published": await publishing}
    for path in options.paths:
        ordered = sorted(itertools.chain.from_iterable(found[path] for found in each))
        figures[path] = {"count": len(ordered)} | {
            f"p{percent}_ms": round(1000 * (percentile(ordered, percent) or 0), 1) for percent in (50, 99)
        }
    return figures


def run(options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as closing:
        data = closing.enter_context(guard.folder())
        mongod, server = closing.enter_context(Mongod()), closing.enter_context(NatsServer())
        port = ports.free()
        environ = os.environ | services.defaults(data) | {"HTTP_PORT": str(port), "LOG_LEVEL": "warning"}
        environ |= {"MONGO_URL": mongod.url, "NATS_URL": server.url, "SCHEDULE": "*/15 * * * *"}
        services.provision(environ)
        fill(mongod.url, options.events)
        stub = Process([sys.executable, "-m", "api_stub"], env=environ, cwd=data)
        closing.callback(stub.stop)
        while not services.is_ready(f"127.0.0.1:{port}"):
            time.sleep(0.1)
        return asyncio.run(measure(options, port, server.url))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--pause", type=float, default=0, help="seconds between an answer and the next question")
    parser.add_argument("--rate", type=float, default=100, help="events a second that are stored meanwhile")
    parser.add_argument("--paths", nargs="+", default=PATHS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = run(options)
    for name, figure in figures.items():
        console.say(f"{name:28} {figure}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
