"""The outbox's promises. The power cut and a disk that is really full are in tests/chaos."""

import errno
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from crypto_updates.bus.event import Event, Quote, encode
from crypto_updates.service.config import ConfigError
from tests.support import ROOT
from worker import outbox as module
from worker.outbox import Outbox, Waiting

NOON = datetime(2023, 11, 21, 12, tzinfo=UTC)
BITCOIN = Quote(
    coin="bitcoin", symbol="btc", price=37000.5, market_cap=None, change_24h=-1.5, currency="usd", updated_at=NOON
)
FIRST_FILE = "crypto@20231121T120000Z.json"


def slot(minute: int) -> datetime:
    return NOON + timedelta(minutes=minute)


def event(minute: int, price: float = 1.0) -> Event:
    at = slot(minute)
    quote = Quote(coin="c", symbol="c", price=price, market_cap=1, change_24h=1, currency="usd", updated_at=at)
    return Event(timestamp=at, source="test", data=(quote, BITCOIN), fetched_at=at)


def whole(minute: int, price: float = 1.0) -> Waiting:
    return Waiting(slot(minute), encode(event(minute, price)))


def bare(minute: int) -> Waiting:
    return Waiting(slot(minute), encode(Event(timestamp=slot(minute))))


def drained(outbox: Outbox) -> list[Waiting]:
    found: list[Waiting] = []
    while (waiting := outbox.oldest()) and len(found) < 1000:
        found.append(waiting)
        outbox.remove(waiting.slot)
    return found


def failing(code: int) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


def started(code: str, *args: object) -> subprocess.Popen[bytes]:
    """A process that has this file's names."""
    command = [sys.executable, "-c", f"from tests.unit.test_outbox import *\n{code}", *map(str, args)]
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)


def status(process: subprocess.Popen[bytes]) -> int:
    process.communicate(b"go", timeout=60)
    return process.returncode


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def outbox(folder: Path) -> Iterator[Outbox]:
    with Outbox(folder, "crypto") as opened:
        yield opened


def test_the_oldest_slot_is_delivered_first_with_its_data(outbox: Outbox) -> None:
    for minute in (2, 0, 1):
        outbox.add(event(minute))
    assert drained(outbox) == [whole(0), whole(1), whole(2)]
    assert outbox.oldest() is None


def test_the_first_event_made_for_a_slot_is_the_one(outbox: Outbox) -> None:
    outbox.add(event(0, price=1))
    outbox.add(event(0, price=2))
    assert drained(outbox) == [whole(0, price=1)]


def test_an_event_that_is_delivered_before_the_disk_has_it_is_never_written(outbox: Outbox, folder: Path) -> None:
    outbox.hold(event(0))
    outbox.hold(event(1))
    assert outbox.oldest() == whole(0)
    outbox.remove(slot(0))
    assert [path.name for path in folder.iterdir()] == ["crypto@20231121T120100Z.json"]
    assert drained(outbox) == [whole(1)]


def test_an_event_of_another_version_is_delivered_byte_for_byte(outbox: Outbox, folder: Path) -> None:
    body = b'{ "event":"CRYPTO_UPDATE", "mood":"new","timestamp":"2023-11-21T12:00:00Z","data":{"not":"a list"}}'
    (folder / FIRST_FILE).write_bytes(body)
    assert drained(outbox) == [(NOON, body)]


def test_events_are_there_after_the_process_was_killed(folder: Path) -> None:
    code = (
        "o = Outbox(Path(sys.argv[1]), 'crypto').__enter__()\n"
        "[o.add(event(n)) for n in range(5)]; o.remove(slot(0)); os.kill(os.getpid(), 9)"
    )
    assert status(started(code, folder)) == -9
    with Outbox(folder, "crypto") as outbox:
        assert drained(outbox) == [whole(n) for n in range(1, 5)]


# Before the temporary file is opened, is linked, is removed, and before the folder is synced.
@pytest.mark.parametrize("call", [0, 1, 2, 3])
def test_a_worker_killed_at_any_moment_of_the_writing_leaves_the_event_whole_or_not_at_all(
    folder: Path, call: int
) -> None:
    code = (
        "o = Outbox(Path(sys.argv[1]), 'crypto').__enter__(); o.add(event(0))\n"
        "calls = iter(range(99)); kill = lambda *_: next(calls) == int(sys.argv[2]) and os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(kill); o.add(event(1))"
    )
    assert status(started(code, folder, call)) == -9
    with Outbox(folder, "crypto") as outbox:
        assert drained(outbox) == [whole(0), whole(1)][: 1 if call < 2 else 2]


def test_the_temporary_file_of_a_killed_worker_is_removed_and_that_of_a_live_one_stays(folder: Path) -> None:
    folder.mkdir()
    dead, live = folder / ".dead.tmp", folder / ".live.tmp"
    dead.touch()
    live.touch()
    os.utime(dead, times=(time.time() - 3601,) * 2)
    with Outbox(folder, "crypto"):
        assert [path.name for path in folder.iterdir()] == [live.name]


def test_a_file_named_with_an_impossible_date_is_left_there_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    (folder / "crypto@20230230T120000Z.json").write_bytes(b"{}")
    with Outbox(folder, "crypto") as outbox:
        outbox.add(event(0))
        assert drained(outbox) == [whole(0)]
        assert len(outbox) == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "crypto@20230230T120000Z.json is no event's file: day is out of range for month" in caplog.text


def test_a_worker_that_loses_its_temporary_file_writes_the_event_again(
    outbox: Outbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "link", lambda temporary, path: (temporary.unlink(), path.hardlink_to(temporary)))
        outbox.add(event(0))
        assert not list(folder.iterdir())
    outbox.add(event(1))
    assert len(list(folder.iterdir())) == 2
    assert drained(outbox) == [whole(0), whole(1)]


def test_nothing_but_the_events_stays_in_the_folder(outbox: Outbox, folder: Path) -> None:
    outbox.add(event(0))
    outbox.add(event(0))
    assert [path.name for path in folder.iterdir()] == [FIRST_FILE]
    drained(outbox)
    assert not list(folder.iterdir())


def test_feeds_in_one_folder_do_not_see_each_other(folder: Path, outbox: Outbox) -> None:
    with Outbox(folder, "crypto-2") as other:
        outbox.add(event(0))
        other.add(event(1))
        assert (len(outbox), len(other)) == (1, 1)
        assert drained(outbox) == [whole(0)]
        assert drained(other) == [whole(1)]


def test_files_of_others_are_left_alone(folder: Path, outbox: Outbox) -> None:
    names = ["notes.txt", "crypto@soon.json", f"my{FIRST_FILE}", f"{FIRST_FILE}.bak"]
    for name in names:
        (folder / name).touch()
    assert len(outbox) == 0
    assert outbox.oldest() is None
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)


def test_workers_of_a_feed_share_a_folder(folder: Path, outbox: Outbox) -> None:
    with Outbox(folder, "crypto") as second:
        outbox.add(event(0))
        second.add(event(0, price=2))
        second.add(event(1))
        assert len(outbox) == len(second) == 2
        assert drained(outbox) == [whole(0), whole(1)]
        assert len(second) == 0
        assert second.oldest() is None


def test_what_another_worker_has_delivered_is_passed_over(folder: Path, outbox: Outbox) -> None:
    for minute in range(4):
        outbox.add(event(minute))
    with Outbox(folder, "crypto") as second:
        assert second.oldest() == whole(0)
        for minute in (0, 1, 3):
            outbox.remove(slot(minute))
        assert drained(second) == [whole(2)]


def test_many_workers_may_open_a_new_folder_at_the_same_time(folder: Path) -> None:
    code = (
        "_, folder, number = sys.argv; sys.stdin.read(1)\n"
        "with Outbox(Path(folder), 'crypto') as o:\n    for n in range(20): o.add(event(100 * int(number) + n))"
    )
    workers = [started(code, folder, n) for n in range(5)]
    assert [status(worker) for worker in workers] == [0] * 5
    with Outbox(folder, "crypto") as outbox:
        assert len(drained(outbox)) == 100


def test_what_waits_is_counted(outbox: Outbox) -> None:
    outbox.add(event(0))
    outbox.add(event(1))
    assert REGISTRY.get_sample_value("crypto_outbox_events") == 2
    assert outbox.slots() == {slot(0), slot(1)}
    drained(outbox)
    assert REGISTRY.get_sample_value("crypto_outbox_events") == 0


def test_a_backlog_is_delivered_without_listing_the_folder_for_each_event(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minute in range(50):
        outbox.add(event(minute))
    listings: list[Path] = []
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: (listings.append(path), listdir(path))[1])
    assert len(drained(outbox)) == 50
    assert len(listings) <= 2


def test_it_warns_once_when_it_is_four_fifths_full(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(folder, "crypto", max_events=100) as outbox:
        for minute in range(99):
            outbox.add(event(minute))
    assert [record.getMessage() for record in caplog.records] == [
        f"[OUTBOX] {folder} is 80 % full: NATS has taken no event for a long time"
    ]


def test_when_it_is_full_no_slot_is_lost_and_the_newest_events_keep_their_data(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(folder, "crypto", max_events=100) as outbox:
        for minute in range(500):
            outbox.add(event(minute))
        assert len(list(folder.iterdir())) == 100
        assert len(outbox) == 500
        kept = drained(outbox)
    with_data = {*range(100), *range(400, 500)}
    assert kept == [whole(minute) if minute in with_data else bare(minute) for minute in range(500)]
    (told,) = (line for line in caplog.messages if "held in memory" in line)
    assert told.startswith(f"[OUTBOX] {folder}: it has 100 events: new events are held in memory, the newest 100 with")


def test_what_an_earlier_run_left_counts_towards_the_bound(folder: Path) -> None:
    with Outbox(folder, "crypto") as outbox:
        for minute in range(3):
            outbox.add(event(minute))
    with Outbox(folder, "crypto", max_events=3) as outbox:
        outbox.add(event(3))
        assert len(list(folder.iterdir())) == 3
        assert drained(outbox) == [whole(minute) for minute in range(4)]


def test_when_there_is_room_again_what_was_held_goes_to_the_disk(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Outbox(folder, "crypto", max_events=2) as outbox:
        for minute in range(3):
            outbox.add(event(minute))
        assert outbox._held
        outbox.remove(slot(0))
        assert not outbox._held
        assert drained(outbox) == [whole(1), whole(2)]
    assert f"[OUTBOX] {folder} takes events again" in caplog.messages


def test_memory_has_a_bound_too_and_the_oldest_slot_is_told_and_counted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "MAX_EVENTS_IN_MEMORY", 3)
    missed = REGISTRY.get_sample_value("crypto_slots_missed_total") or 0
    with Outbox(folder, "crypto", max_events=1) as outbox:
        for minute in range(5):
            outbox.add(event(minute))
        assert outbox.slots() == {slot(minute) for minute in (0, 2, 3, 4)}
    assert "lost 2023-11-21T12:01:00Z" in caplog.text
    assert REGISTRY.get_sample_value("crypto_slots_missed_total") == missed + 1


def test_what_cannot_be_removed_is_not_delivered_again(
    outbox: Outbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.add(event(0))
    outbox.add(event(1))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", failing(errno.EROFS))
        assert drained(outbox) == [whole(0), whole(1)]
        assert outbox.slots() == set()
    assert len(list(folder.iterdir())) == 2
    outbox.add(event(2))
    assert drained(outbox) == [whole(2)]
    assert not list(folder.iterdir())


def test_one_file_that_never_goes_does_not_keep_the_others_and_is_told_once(
    outbox: Outbox, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / FIRST_FILE).mkdir()
    outbox.remove(NOON)
    for minute in (1, 2):
        outbox.add(event(minute))
        assert drained(outbox) == [whole(minute)]
    assert [path.name for path in folder.iterdir()] == [FIRST_FILE]
    (told,) = caplog.messages
    assert told.startswith(f"[OUTBOX] Cannot remove {folder / FIRST_FILE}: ")
    assert told.endswith("; NATS has the event")


@pytest.mark.parametrize("body", [b"", bytes(4096), b'{"event":"CRYPTO_UPD', b"[]", b'{"event":"CRYPTO_UPDATE"}'])
def test_an_event_that_cannot_be_used_goes_without_its_data(
    folder: Path, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder.mkdir()
    (folder / FIRST_FILE).write_bytes(body)
    with Outbox(folder, "crypto") as outbox:
        outbox.add(event(1))
        assert drained(outbox) == [bare(0), whole(1)]
    assert f"[OUTBOX] {folder / FIRST_FILE} cannot be used (" in caplog.text


def test_an_event_that_the_disk_does_not_give_goes_without_its_data(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.add(event(0))
    monkeypatch.setattr(Path, "read_bytes", failing(errno.EIO))
    assert drained(outbox) == [bare(0)]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_it_starts_with_a_disk_that_takes_nothing_and_writes_when_it_does(
    folder: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", failing(code))
        outbox = Outbox(folder, "crypto").__enter__()
        outbox.add(event(0))
        assert outbox.oldest() == whole(0)
        assert outbox.slots() == {slot(0)}
    outbox.add(event(1))
    assert len(list(folder.iterdir())) == 2
    assert drained(outbox) == [whole(0), whole(1)]
    held, again = caplog.messages
    assert held.startswith(f"[OUTBOX] {folder}: {os.strerror(code)}: new events are held in memory")
    assert again == f"[OUTBOX] {folder} takes events again"


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_an_event_that_the_disk_does_not_take_is_held_and_tried_again(
    outbox: Outbox, folder: Path, call: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(errno.ENOSPC))
        outbox.add(event(0))
        outbox.add(event(1))
        assert not list(folder.iterdir())
        assert outbox.oldest() == whole(0)
        assert outbox.slots() == {slot(0), slot(1)}
    outbox.add(event(2))
    assert len(list(folder.iterdir())) == 3
    assert drained(outbox) == [whole(0), whole(1), whole(2)]
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]


def test_a_folder_that_is_a_file_or_has_no_parent_is_a_bad_value(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "missing" / "outbox"):
        with pytest.raises(ConfigError, match=rf"^OUTBOX_DIR={folder}: .*; accepted: a folder"):
            Outbox(folder, "crypto").__enter__()


@pytest.mark.parametrize(
    ("call", "code"),
    [("link", errno.EACCES), ("link", errno.EPERM), ("fsync", errno.EROFS)],
    ids=["no permission", "no hard links", "read-only"],
)
def test_a_folder_that_takes_no_events_is_a_bad_value(
    folder: Path, call: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    monkeypatch.setattr(os, call, failing(code))
    with pytest.raises(ConfigError) as raised:
        Outbox(folder, "crypto").__enter__()
    accepted = (
        "a folder, or a new one in an existing one, that the worker may write to, on a file system with hard links"
    )
    assert str(raised.value) == f"OUTBOX_DIR={folder}: {os.strerror(code)}; accepted: {accepted}"
    assert not list(folder.iterdir())


def test_what_is_lost_at_the_end_is_named(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Outbox(folder, "crypto", max_events=1) as outbox:
        for minute in range(3):
            outbox.add(event(minute))
    lost = "2 events from 2023-11-21T12:01:00Z to 2023-11-21T12:02:00Z"
    assert caplog.messages[-1] == f"[OUTBOX] Lost, because they were in memory only: {lost}"
