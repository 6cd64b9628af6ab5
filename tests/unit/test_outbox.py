import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from crypto_updates.bus.event import Event, Quote
from crypto_updates.service.config import ConfigError
from tests.support import ROOT
from worker import outbox as module
from worker.journal import APPLICATION_ID, BrokenError, Journal
from worker.outbox import Outbox

NOON = datetime(2023, 11, 21, 12, tzinfo=UTC)
BITCOIN = Quote(
    coin="bitcoin", symbol="btc", price=37000.5, market_cap=None, change_24h=-1.5, currency="usd", updated_at=NOON
)


def event(minute: int, price: float = 1.0) -> Event:
    slot = NOON + timedelta(minutes=minute)
    quote = Quote(coin="c", symbol="c", price=price, market_cap=1, change_24h=1, currency="usd", updated_at=slot)
    return Event(timestamp=slot, source="test", data=(quote, BITCOIN), fetched_at=slot)


def bare(minute: int) -> Event:
    return Event(timestamp=NOON + timedelta(minutes=minute))


def drained(outbox: Outbox) -> list[Event]:
    found = []
    while waiting := outbox.oldest():
        found.append(waiting)
        outbox.remove(waiting)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with Outbox(path, "crypto") as opened:
        yield opened


def test_the_oldest_slot_is_delivered_first_with_its_data(outbox: Outbox) -> None:
    for minute in (2, 0, 1):
        outbox.add(event(minute))
    assert drained(outbox) == [event(0), event(1), event(2)]
    assert outbox.oldest() is None


def test_the_first_event_made_for_a_slot_is_the_one(outbox: Outbox) -> None:
    outbox.add(event(0, price=1))
    outbox.add(event(0, price=2))
    assert drained(outbox) == [event(0, price=1)]


def test_events_are_there_after_the_process_was_killed(path: Path) -> None:
    made = "from tests.unit.test_outbox import *; o = Outbox(Path(sys.argv[1]), 'crypto').__enter__(); "
    doing = "[o.add(event(n)) for n in range(5)]; o.remove(event(0)); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", made + doing, path], check=False, cwd=ROOT, timeout=20)
    assert done.returncode == -9
    with Outbox(path, "crypto") as outbox:
        assert drained(outbox) == [event(n) for n in range(1, 5)]


def test_feeds_in_one_file_do_not_see_each_other(path: Path, outbox: Outbox) -> None:
    with Outbox(path, "other") as other:
        outbox.add(event(0))
        other.add(event(1))
        assert (len(outbox), len(other)) == (1, 1)
        assert drained(outbox) == [event(0)]
        assert drained(other) == [event(1)]


def test_workers_of_a_feed_share_a_file(path: Path, outbox: Outbox) -> None:
    with Outbox(path, "crypto") as second:
        outbox.add(event(0))
        second.add(event(0, price=2))
        second.add(event(1))
        assert drained(outbox) == [event(0), event(1)]
        assert second.oldest() is None


def test_many_workers_may_open_a_new_file_at_the_same_time(path: Path) -> None:
    code = (
        "from tests.unit.test_outbox import *; _, path, number = sys.argv; sys.stdin.read(1)\n"
        "with Outbox(Path(path), 'crypto') as o:\n    for n in range(20): o.add(event(100 * int(number) + n))"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, path, str(n)], cwd=ROOT, stdin=subprocess.PIPE) for n in range(5)
    ]
    for worker in workers:
        worker.communicate(b"go", timeout=30)
    assert [worker.returncode for worker in workers] == [0] * 5
    with Outbox(path, "crypto") as outbox:
        assert len(drained(outbox)) == 100


def test_what_waits_is_counted(outbox: Outbox) -> None:
    outbox.add(event(0))
    outbox.add(event(1))
    assert REGISTRY.get_sample_value("crypto_outbox_events") == 2
    assert outbox.slots() == {NOON, NOON + timedelta(minutes=1)}
    drained(outbox)
    assert REGISTRY.get_sample_value("crypto_outbox_events") == 0


def test_it_warns_once_when_it_is_four_fifths_full(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(path, "crypto", max_bytes=100 * 4096) as outbox:
        for minute in range(700):
            outbox.add(event(minute))
    assert [record.getMessage() for record in caplog.records] == [
        f"[OUTBOX] {path} is 80 % full: NATS has taken nothing for long"
    ]


def test_when_it_is_full_no_slot_is_lost_and_the_newest_events_keep_their_data(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(path, "crypto", max_bytes=16 * 4096) as outbox:
        for minute in range(500):
            outbox.add(event(minute))
        kept = drained(outbox)
    assert [e.timestamp for e in kept] == [event(minute).timestamp for minute in range(500)]
    with_data = [e for e in kept if e.data]
    assert with_data[:100] == [event(minute) for minute in range(100)]
    assert with_data[-100:] == [event(minute) for minute in range(400, 500)]
    assert bare(399) in kept
    full = [record.getMessage() for record in caplog.records if "database or disk is full" in record.getMessage()]
    assert len(full) == 1


def test_when_there_is_room_again_what_was_held_goes_to_the_disk(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(path, "crypto", max_bytes=16 * 4096) as outbox:
        for minute in range(500):
            outbox.add(event(minute))
        assert outbox._held
        for minute in range(400):
            outbox.remove(event(minute))
        outbox.add(event(1000))
        assert not outbox._held
        assert outbox.oldest() is not None
    assert f"[OUTBOX] {path} takes events again" in caplog.text


def test_memory_has_a_bound_too_and_the_oldest_slot_is_told_and_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MOST_HELD", 3)
    missed = REGISTRY.get_sample_value("crypto_slots_missed_total") or 0
    with Outbox(path, "crypto", max_bytes=4 * 4096) as outbox:
        while len(outbox._held) < 3:
            outbox.add(event(len(outbox)))
        first = min(outbox._held)
        outbox.add(event(5000))
        assert first not in outbox._held
        assert len(outbox._held) == 3
    assert f"lost {first}" in caplog.text
    assert REGISTRY.get_sample_value("crypto_slots_missed_total") == missed + 1


def test_what_cannot_be_removed_is_not_delivered_again(path: Path, outbox: Outbox) -> None:
    outbox.add(event(0))
    outbox.add(event(1))
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")  # a lock that outlasts the wait, as a full disk would
        outbox.remove(event(0))
        assert outbox.oldest() == event(1)
        assert outbox.slots() == {event(1).timestamp}
        other.execute("ROLLBACK")
    other.close()
    outbox.remove(event(1))
    assert len(outbox) == 0
    assert outbox._delivered == set()


@pytest.mark.parametrize("damage", ["garbage", "middle", "truncated"])
def test_a_corrupt_file_is_set_aside_and_told(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(path, "crypto") as outbox:
        for minute in range(200):
            outbox.add(event(minute))
    good = path.read_bytes()
    bad = {
        "garbage": os.urandom(9000),
        "middle": good[:8192] + os.urandom(8192) + good[16384:],
        "truncated": good[: len(good) // 2],
    }[damage]
    path.write_bytes(bad)
    with Outbox(path, "crypto") as outbox:
        outbox.add(event(7))
        assert drained(outbox) == [event(7)]
    (aside,) = path.parent.glob("outbox.db.broken-*Z")
    assert aside.read_bytes() == bad
    assert f"{path} is broken" in caplog.text
    assert str(aside) in caplog.text


def test_a_file_that_breaks_while_it_is_used_is_set_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(path, "crypto") as outbox:
        for minute in range(200):
            outbox.add(event(minute))
    with Outbox(path, "crypto") as outbox:
        outbox._journal.execute("PRAGMA shrink_memory")
        good = path.read_bytes()
        path.write_bytes(good[:4096] + os.urandom(len(good) - 4096))
        for minute in range(200, 205):
            outbox.add(event(minute))
        assert [e for e in drained(outbox) if e.data][-1] == event(204)
    assert len(list(path.parent.glob("outbox.db.broken-*Z"))) == 1
    assert "set aside" in caplog.text


def test_an_event_that_cannot_be_read_goes_without_its_data(outbox: Outbox, caplog: pytest.LogCaptureFixture) -> None:
    outbox._journal.execute("INSERT INTO events VALUES ('crypto', '2023-11-21T12:00:00Z', 'no event')")
    outbox.add(event(1))
    assert drained(outbox) == [bare(0), event(1)]
    assert "cannot be read" in caplog.text


def test_a_worker_does_not_set_aside_what_another_one_has_made_anew(path: Path, outbox: Outbox) -> None:
    with Outbox(path, "crypto") as second:
        for each in (outbox, second):
            each._fail(BrokenError("planted"))
            each.add(event(0 if each is outbox else 1))
        assert len(list(path.parent.glob("outbox.db.broken-*Z"))) == 1
        assert drained(second) == [event(0), event(1)]


def test_a_file_that_could_not_be_made_anew_is_tried_again(
    path: Path, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_prepare", fail)
        outbox._fail(BrokenError("planted"))
        outbox.add(event(0))
        assert outbox._held
    outbox.add(event(1))
    assert not outbox._held
    with Outbox(path, "crypto") as again:
        assert drained(again) == [event(0), event(1)]


def fail(*_: object) -> None:
    raise sqlite3.OperationalError("planted")


def test_another_workers_lock_holds_it_up_for_less_than_a_second(path: Path, outbox: Outbox) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begin = time.monotonic()
        outbox.add(event(0))
        assert time.monotonic() - begin < 1
        other.execute("ROLLBACK")
    outbox.add(event(1))
    assert not outbox._held


def test_it_starts_with_a_disk_that_is_full(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(path, "crypto", max_bytes=4096) as outbox:
        outbox.add(event(0))
        assert outbox.oldest() == event(0)
    assert "is full: new events are held in memory" in caplog.text


def test_an_empty_file_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.touch()
    with Outbox(path, "crypto"):
        pass
    assert f"{path} was empty" in caplog.text


@pytest.mark.parametrize("kind", ["folder", "no such folder", "another program's"])
def test_a_path_that_cannot_be_used_is_named_with_what_is_accepted(path: Path, kind: str) -> None:
    if kind == "folder":
        path.mkdir()
    elif kind == "no such folder":
        path = path / "outbox.db"
    else:
        with sqlite3.connect(path) as other:
            other.execute("CREATE TABLE mine (a)")
        other.close()
        before = path.read_bytes()
    with pytest.raises(ConfigError, match=r"^OUTBOX_PATH=.*outbox\.db: .*; accepted: a file"), Outbox(path, "crypto"):
        pass
    if kind == "another program's":
        assert path.read_bytes() == before


def test_the_file_says_whose_it_is(path: Path, outbox: Outbox) -> None:
    outbox.add(event(0))
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    other.close()


def test_what_is_lost_at_the_end_is_named(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    with Outbox(path, "crypto", max_bytes=4 * 4096) as outbox:
        while not outbox._held:
            outbox.add(event(len(outbox)))
        (slot,) = outbox._held
    assert f"Lost, because they were in memory only: 1 events from {slot} to {slot}" in caplog.text
