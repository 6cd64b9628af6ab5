"""From the slot to the stream, by the server's own timestamps: two workers, and the peers that a schedule may run on.

The limit is what the machine allows: a plain sleep until the time, then one JetStream publish until it is acknowledged.
All run at the same time on one server, every four seconds each and a second apart, so that nobody waits for another.
Whole seconds are also when the other programs of the machine wake up. Then once more beside a process that keeps one
core busy.
"""

import asyncio
import multiprocessing
import os
import re
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nats
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.interval import IntervalTrigger
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from crypto_updates.local import guard, ports, programs
from crypto_updates.local.servers import NatsServer
from stack import console
from tests.benchmarks.backlog import body
from tests.benchmarks.punctuality import burn
from tests.benchmarks.quantile import p50, p99
from tests.benchmarks.report import SLOT_LOADS

EVERY_SECONDS = 4
# When each is due within the four seconds.
PHASES = {"worker": 0, "plain": 1, "NATS's own schedule": 2, "apscheduler": 3}
# The stream and the subject of each.
PLACES = {
    "worker": ("CRYPTO", "crypto.updates"),
    "plain": ("BENCH", "bench.plain"),
    "NATS's own schedule": ("BENCH", "bench.scheduled"),
    "apscheduler": ("BENCH", "bench.apscheduler"),
}
SCHEDULE = {"Nats-Schedule": "2/4 * * * * *", "Nats-Schedule-Target": "bench.scheduled"}
WORKERS = 2
# The first ones, which wait for connections, do not count.
WARM_UP = 3
Series = dict[str, list[float]]


def due(name: str) -> float:
    """The next time of the contender, in seconds since 1970."""
    return ((time.time() - PHASES[name]) // EVERY_SECONDS + 1) * EVERY_SECONDS + PHASES[name]


async def plain(url: str, slots: int) -> Series:
    """Seconds that the timer is late, and that a publish takes."""
    client = await nats.connect(url)
    js, found = client.jetstream(), Series(timer=[], publish=[])
    for number in range(slots):
        at = due("plain")
        await asyncio.sleep(at - 0.1 - time.time())  # nats-py may read and write until then
        time.sleep(at - time.time())  # noqa: ASYNC251 - the most exact timer, and nothing else runs here
        begin, late = time.perf_counter(), time.time() - at
        await js.publish(PLACES["plain"][1], body(number), headers={"Nats-Msg-Id": f"plain@{number}"})
        found["publish"].append(time.perf_counter() - begin)
        found["timer"].append(late)
    await client.close()
    return found


async def apscheduler(url: str, slots: int) -> Series:
    """As one would write the worker with it."""
    client, done = await nats.connect(url), asyncio.Event()
    js, scheduler, count = client.jetstream(), AsyncIOScheduler(), 0

    async def fire() -> None:
        nonlocal count
        count += 1
        headers = {"Nats-Msg-Id": f"apscheduler@{count}"}
        await js.publish(PLACES["apscheduler"][1], body(count), headers=headers)
        if count == slots:
            done.set()

    start = datetime.fromtimestamp(due("apscheduler"), UTC)
    scheduler.add_job(fire, IntervalTrigger(seconds=EVERY_SECONDS, start_date=start))
    scheduler.start()
    await done.wait()
    scheduler.shutdown()
    await client.close()
    return {}


CONTENDERS: tuple[Callable[[str, int], Coroutine[Any, Any, Series]], ...] = (plain, apscheduler)


def run(number: int, url: str, slots: int) -> Series:
    return asyncio.run(CONTENDERS[number](url, slots))


async def prepare(url: str) -> None:
    """Give the server the peers' stream, and its own schedule."""
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="BENCH", subjects=["bench.>"], allow_msg_schedules=True))
    await js.publish("bench.schedule", body(0), headers=SCHEDULE)
    await client.close()


async def stored(js: JetStreamContext, stream: str, subject: str) -> list[float]:
    """When the server stored each message of the subject, in seconds since 1970."""
    last = (await js.stream_info(stream)).state.last_seq
    messages = [await js.get_msg(stream, number) for number in range(1, last + 1)]
    return [message.time.timestamp() for message in messages if message.subject == subject and message.time]


async def lateness(url: str, *names: str) -> Series:
    """Seconds from each contender's times until the stream has its messages, without the first ones."""
    client = await nats.connect(url)
    js, found = client.jetstream(), Series()
    for name in names:
        times = await stored(js, *PLACES[name])
        found[name] = [(at - PHASES[name]) % EVERY_SECONDS for at in times[WARM_UP:]]
    await client.close()
    return found


def start_workers(closing: ExitStack, url: str, data: Path) -> None:
    for number in range(WORKERS):
        own = {"NATS_URL": url, "SCHEDULE": "*/4 * * * * *", "HEALTH_PORT": str(ports.free())}
        own |= {"OUTBOX_DIR": str(data / f"outbox-{number}"), "MARKET_SOURCE": "simulated"}
        worker = programs.start("worker", environ=os.environ | own, cwd=data)
        closing.callback(worker.stop)
        worker.wait_for_line(re.compile(r"\[PUBLISH\]|\[TURN\] Another worker"), 60)


def side_by_side(slots: int) -> Series:
    """Seconds of lateness of each, and the two parts of the limit."""
    with ExitStack() as closing:
        server, data = closing.enter_context(NatsServer()), closing.enter_context(guard.folder())
        asyncio.run(prepare(server.url))
        start_workers(closing, server.url, data)
        pool = closing.enter_context(multiprocessing.get_context("spawn").Pool(len(CONTENDERS)))
        jobs = [(number, server.url, WARM_UP + slots) for number in range(len(CONTENDERS))]
        parts, _ = pool.starmap(run, jobs, chunksize=1)
        return asyncio.run(lateness(server.url, *PHASES)) | {name: series[WARM_UP:] for name, series in parts.items()}


def measure(slots: int) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds by load and contender, each load on a server of its own."""
    found = {}
    for load in SLOT_LOADS:
        busy = multiprocessing.get_context("spawn").Process(target=burn, daemon=True)
        with ExitStack() as closing, console.step(f"From slot to stream, {load}"):
            if load != SLOT_LOADS[0]:
                busy.start()
                closing.callback(busy.join)
                closing.callback(busy.kill)
            found[load] = figures(side_by_side(slots))
    return found


def figures(series: Series) -> dict[str, dict[str, float]]:
    limit = [timer + publish for timer, publish in zip(series["timer"], series["publish"], strict=True)]
    return {name: {"p50": p50(each), "p99": p99(each)} for name, each in (series | {"limit": limit}).items()}
