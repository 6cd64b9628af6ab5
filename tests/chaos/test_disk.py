"""A disk is full or read-only for a while: nothing is lost or stored twice, and no good event is a dead letter."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from crypto_updates.local.servers import Mongod, Server
from tests.chaos.disk import Disk
from tests.chaos.machine import Machine
from tests.support import eventually


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """At work, with an API stub and a worker."""
    with Machine(tmp_path) as entered:
        entered.start("api_stub")
        entered.start_workers("worker")
        yield entered


def break_(disk: Disk, fault: str) -> None:
    if fault == "full":
        disk.fill()
    else:
        disk.fail()


def mend(disk: Disk, fault: str, server: Server) -> None:
    """With the server's restart, as an operator or a watchdog sees to it."""
    if fault == "full":
        disk.free()
    server.stop()
    if fault == "read-only":
        disk.repair()
    server.start()


def unanswered(machine: Machine) -> bool:
    """True once an event was published and not acknowledged."""
    before = len(machine.history.operations)
    return eventually(lambda: any(op.result != "ok" for op in machine.history.operations[before:]), 15)


def checkpoint(mongod: Mongod) -> None:
    """Now, and not only within the minute: until then the journal's file, made beforehand, has room."""
    client = MongoClient[dict[str, Any]](mongod.url, directConnection=True, timeoutMS=5000)
    with client, contextlib.suppress(PyMongoError):
        client.admin.command("fsync")


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_the_disk_of_nats(machine: Machine, fault: str) -> None:
    with machine.load(rate=200):
        assert machine.acknowledges(100)
        break_(machine.nats_disk, fault)
        assert unanswered(machine)
        mend(machine.nats_disk, fault, machine.nats)
        assert machine.acknowledges(100)
    assert machine.settle(f"NATS, disk {fault}") == []


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_the_disk_of_mongodb(machine: Machine, fault: str) -> None:
    with machine.load(rate=200):
        assert machine.acknowledges(100)
        break_(machine.mongod_disk, fault)
        checkpoint(machine.mongod)
        assert eventually(lambda: machine.mongod.status is not None, 15), "mongod has not noticed"
        machine.services[0].wait_for_line("[MONGO] MongoDB is unavailable", 15)
        mend(machine.mongod_disk, fault, machine.mongod)
        assert machine.acknowledges(100)
    assert machine.settle(f"MongoDB, disk {fault}") == []


def test_the_disk_of_the_outbox(machine: Machine) -> None:
    """What it does not take is held in memory, with its data where it is not much."""
    begin = time.monotonic()
    machine.nats.kill()
    machine.worker_disk.fill()
    machine.services[1].wait_for_line("are held in memory", 10)
    assert eventually(lambda: time.monotonic() - begin >= 5, 10)
    machine.worker_disk.free()
    machine.nats.start()
    assert machine.stores(5)
    assert machine.settle("outbox, disk full") == []
