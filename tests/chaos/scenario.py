"""What is done to a machine, with the real code or with a defect: the checker's verdict is the difference.

Each prints its figures and returns the violations found.
"""

import asyncio
import dataclasses
import os
import random
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import nats
from nats.js import JetStreamContext
from pymongo import WriteConcern

from api_stub.errors import StoreUnavailableError
from api_stub.store import Store
from crypto_updates.bus.event import MSG_ID, SUBJECT, encode, parse, text
from crypto_updates.bus.stream import DAY, STREAM, stream_config
from crypto_updates.local import cluster
from crypto_updates.local.process import Process
from crypto_updates.local.servers import NatsServer
from tests.chaos import client, copies, scribe
from tests.chaos.checker import Document, Violation, check
from tests.chaos.disk import Disk, power_cut
from tests.chaos.history import History, Operation
from tests.chaos.load import at_each, body
from tests.chaos.machine import START, Machine, tell
from tests.support import ROOT, eventually
from worker.outbox import Outbox

LANES = 5
EVENTS = 100


def jetstream(folder: Path, *, cuts: int = 2, config: str = "") -> list[Violation]:
    """The power goes while events are published; what the stream has in the end is stored."""
    with Machine(folder, config) as machine:
        stub = machine.start("api_stub")
        stub.stop()
        machine.nats_disk.sync()  # the stream itself is older than the fault
        with machine.load(rate=5000):
            for _ in range(cuts):
                assert machine.acknowledges(300)
                machine.cut(services=False)
        stub.restart()
        return machine.settle("JetStream, power cuts")


def replicated(folder: Path, cuts: Sequence[int], *, config: str = "", padding: int = 0) -> list[Violation]:
    """At each cut, the power of so many of three nats-servers goes, under load; what each has is judged."""
    history, begin = History(), time.monotonic()
    with ExitStack() as closing:
        disks = [closing.enter_context(Disk(folder, f"nats{number}")) for number in range(cluster.SIZE)]
        servers = cluster.nats_servers(folders=[disk.path / "data" for disk in disks], config=config)
        for server in servers:
            closing.enter_context(server)
        assert eventually(lambda: copies.make_stream(servers), copies.LEAD)
        for disk in disks:
            disk.sync()  # the stream itself is older than the fault
        with at_each(servers, history, seed="power", rate=5000, padding=padding):
            for number, lose in enumerate(cuts):
                assert _acknowledges(history, 300)
                # The leader is the first to lose its power, and the last.
                leader = client.ask([server.url for server in servers], client.leader)
                pairs = sorted(zip(servers, disks, strict=True), key=lambda pair: (pair[0].id == leader) == number % 2)
                _cut(*zip(*pairs[:lose], strict=True))
        found = copies.judge(history.operations, copies.read_all(servers))
    told = ", ".join(map(str, cuts))
    tell(f"of {cluster.SIZE} nats-servers {told} lost their power, {len(cuts)} cuts", history, 0, found, begin)
    return found


def mongodb(folder: Path, *, cuts: int = 2, concern: WriteConcern | None = None) -> list[Violation]:
    """The power goes while events are stored, with another write concern if one is given."""
    with Machine(folder) as machine:
        stop = threading.Event()
        writer = threading.Thread(target=lambda: asyncio.run(_write(machine, concern, stop)))
        writer.start()
        try:
            for _ in range(cuts):
                assert machine.acknowledges(1000)
                machine.cut(services=False)
        finally:
            stop.set()
            writer.join()
        return machine.verdict("MongoDB, power cuts")


def outbox(folder: Path, *, cuts: int = 2, fsync: str = "on") -> list[Violation]:
    """The power goes while events are added to the outbox, which does not wait for the disk if `fsync` is "off"."""
    begin, history = time.monotonic(), History()
    events: list[Document] = []
    with Disk(folder) as disk:
        for cut in range(cuts):
            path = disk.path / f"outbox{cut}"
            kept = _kept(path, disk, fsync)
            for number in range(len(kept) + 1):
                slot = scribe.slot(number)
                operation = _stored(f"{cut}@{slot}", encode(scribe.event(slot)), number)
                # The power may have gone between the adding and the telling.
                history.record(operation if slot in kept else operation._replace(result="unknown"))
            with Outbox(path, scribe.FEED) as found:
                while waiting := found.oldest():
                    number = (waiting.slot - scribe.BEGIN).seconds
                    events.append(_document(f"{cut}@{text(waiting.slot)}", waiting.body, number))
                    found.remove(waiting.slot)
    violations = check(history.operations, events, [])
    tell(f"outbox, power cuts: {cuts} cuts", history, 0, violations, begin)
    return violations


def outage(folder: Path, *, stub: str = "api_stub") -> list[Violation]:
    """MongoDB is down, and the API stub that has taken the events meanwhile is killed."""
    with Machine(folder) as machine:
        service = machine.start(stub)
        service.stop()
        with machine.load(rate=4 * EVENTS):
            assert machine.acknowledges(EVENTS)
        machine.mongod.kill()
        service.restart()
        assert eventually(lambda: _given(machine), START)
        machine.drained(within=3)  # which only a stub does that acknowledges what it cannot store
        service.kill()
        machine.mongod.start()
        service.restart()
        return machine.settle("API stub killed while MongoDB is down")


def pair(folder: Path, *, worker: str = "worker") -> list[Violation]:
    """Two workers have the same slots."""
    with Machine(folder) as machine:
        machine.start("api_stub")
        machine.start_workers(worker, worker)
        machine.stores(4)
        return machine.settle("two workers")


def twice(folder: Path, *, window: float = 7 * DAY) -> tuple[int, list[Violation]]:
    """Each event is published, and after some time again. Returns how many the stream then has, too.

    Good ones only: the place of a dead letter is its place in the stream, so that each copy has its own.
    """
    with Machine(folder) as machine:
        copies = asyncio.run(_publish_twice(machine, window))
        machine.start("api_stub")
        return copies, machine.settle(f"{EVENTS} events published twice, {copies} in the stream")


def _given(machine: Machine) -> bool:
    """True once NATS has given events to the API stub."""
    consumer = machine.ledger.consumer()
    return consumer is not None and consumer.pending < consumer.last_seq


def _acknowledges(history: History, more: int) -> bool:
    enough = history.acked + more
    return eventually(lambda: history.acked >= enough, copies.LEAD)


def _cut(servers: Sequence[NatsServer], disks: Sequence[Disk]) -> None:
    power_cut(servers, disks)
    for server in servers:
        server.start()


async def _write(machine: Machine, concern: WriteConcern | None, stop: threading.Event) -> None:
    numbers, rng = iter(range(10**9)), random.Random("store")
    async with Store(machine.mongod.url, "crypto") as store, asyncio.TaskGroup() as lanes:
        if concern:
            store._events = store._events.with_options(write_concern=concern)

        async def lane() -> None:
            while not stop.is_set():
                number = next(numbers)
                content, valid = body(number, rng)
                if valid:
                    await _add(store, machine.history, f"load@{number}", content, number)

        for _ in range(LANES):
            lanes.create_task(lane())


async def _add(store: Store, history: History, identity: str, content: bytes, number: int) -> None:
    document = _document(identity, content, number)
    try:
        await store.add_events([document])
    except StoreUnavailableError:
        history.record(_stored(identity, content, number)._replace(result="unknown"))
    else:
        history.record(_stored(identity, content, number))


def _kept(path: Path, disk: Disk, fsync: str) -> set[str]:
    """The slots whose events were added until the power went."""
    environ = {"OUTBOX_DIR": str(path), "FSYNC": fsync, "PYTHONUNBUFFERED": "1"}
    process = Process([sys.executable, "-m", "tests.chaos.scribe"], env=os.environ | environ, cwd=ROOT)
    try:
        assert eventually(lambda: len(process.lines) > EVENTS, 20)
        power_cut([process], [disk])
    finally:
        process.stop()
    return {line.removeprefix(scribe.KEPT) for line in process.lines if line.startswith(scribe.KEPT)}


async def _publish_twice(machine: Machine, window: float) -> int:
    nc = await nats.connect(machine.nats.url)
    try:
        js = nc.jetstream()
        await js.add_stream(dataclasses.replace(stream_config(1), duplicate_window=window))
        for number in range(EVENTS):
            await _publish(js, machine.history, number)
        if short := window < DAY:
            # A timer of the server forgets ids, the oldest first: one more id tells when it has forgotten the others.
            await _publish(js, machine.history, EVENTS)
            while await _publish(js, machine.history, EVENTS):
                pass
        for number in range(EVENTS):
            await _publish(js, machine.history, number)
        return (await js.stream_info(STREAM)).state.messages - 2 * short
    finally:
        await nc.close()


async def _publish(js: JetStreamContext, history: History, number: int) -> bool:
    """True if the stream had the event already, and dropped this copy."""
    identity, content = f"load@{number}", encode(scribe.event(scribe.slot(number)))
    ack = await js.publish(SUBJECT, content, headers={MSG_ID: identity})
    history.record(_stored(identity, content, ack.seq))
    return bool(ack.duplicate)


def _stored(identity: str, content: bytes, number: int) -> Operation:
    return Operation(identity, content, time.time(), time.time(), "ok", number)


def _document(identity: str, content: bytes, number: int) -> Document:
    return {"_id": identity, **parse(content), "received_at": datetime.now(UTC), "stream_seq": number}
