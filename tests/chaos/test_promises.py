"""The promises of the design, each shown where it is hardest to keep."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.chaos.checker import check
from tests.chaos.member import YOUNG, Service
from tests.chaos.run import Options, run
from tests.chaos.stage import Evidence, Stage
from tests.support import HANG_SECONDS, eventually

SECOND = timedelta(seconds=1)


def violations(evidence: Evidence) -> list[str]:
    found = check([], evidence.events, evidence.dead_letters, feeds=[evidence.feed], consumer=evidence.consumer)
    return [*map(str, found), *evidence.ends]


def passed(slot: datetime) -> bool:
    """Waits until half a second after it."""
    return eventually(lambda: datetime.now(UTC) > slot + SECOND / 2, 60)


def following(stage: Stage, count: int) -> list[datetime]:
    """The next slots."""
    slots = [stage.cron.next(datetime.now(UTC))]
    while len(slots) < count:
        slots.append(stage.cron.next(slots[-1]))
    return slots


@pytest.mark.timeout(300)
def test_nats_down_for_ten_slots_and_the_worker_killed_in_the_middle(tmp_path: Path) -> None:
    # With MISSED_SLOTS=none, what is delivered at the end can only come from the outbox.
    with Stage(tmp_path, schedule="*/6 * * * * *", missed_slots="none") as stage:
        worker = stage.of("worker")[0]
        assert passed(stage.cron.next(datetime.now(UTC)))
        with stage.of("nats")[0].down():
            before = following(stage, 5)
            assert passed(before[-1])
            kept = tmp_path / "worker1" / "outbox" / f"crypto@{before[-1]:%Y%m%dT%H%M%SZ}.json"
            assert eventually(kept.exists)
            worker.kill()
            assert eventually(lambda: worker.alive, 30)
            assert isinstance(worker.process, Service)
            worker.process.wait_for_line("[CRON] Scheduled job initialized", HANG_SECONDS, after=worker.process.begin)
            after = following(stage, 5)
            assert passed(after[-1])
            slots = before + after
            assert not stage.ledger.slots() & set(slots)
        assert eventually(lambda: set(slots) <= stage.ledger.slots(), HANG_SECONDS)
        evidence = stage.settle(20)  # slots that passed while the worker started never come
    # They are delivered in order; two batches may be stored at once.
    delivered = sorted(evidence.events, key=lambda event: int(event["stream_seq"]))
    assert [event["timestamp"] for event in delivered if event["timestamp"] in slots] == slots
    assert all(event["data"] for event in evidence.events)
    # As MISSED_SLOTS=none has it, each restart may cost slots of its own.
    others = [slot.isoformat() for slot in evidence.feed.slots if slot > slots[0] and slot not in slots]
    missed = [told for told in violations(evidence) if "'I4'" in told and any(slot in told for slot in others)]
    assert [told for told in violations(evidence) if told not in missed] == []


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["nats", "mongod"])
def test_a_server_frozen_for_a_minute_is_recovered_from_without_a_hand(kind: str, tmp_path: Path) -> None:
    report = run(Options(kind, seconds=1, rate=50, faults=[f"{kind} sigstop 60 s"]), tmp_path)
    print(report)  # noqa: T201 - shown of a test that fails
    assert report.violations == []  # a recovery that takes more than 15 s is one


@pytest.mark.timeout(240)
def test_five_workers_with_clocks_20_s_apart_give_one_event_a_slot(tmp_path: Path) -> None:
    with Stage(tmp_path, clocks=(0, 5, 10, 15, 20)) as stage:
        first = stage.cron.next(stage.begun + 20 * SECOND)
        slots = {first + number * SECOND for number in range(60)}
        assert eventually(lambda: datetime.now(UTC) > max(slots), 120)
        evidence = stage.settle()
    stored = sorted(event["timestamp"] for event in evidence.events if event["timestamp"] in slots)
    assert stored == sorted(slots)
    assert violations(evidence) == []


@pytest.mark.timeout(240)
def test_an_api_stub_that_was_frozen_past_the_ack_wait_stores_nothing_twice(tmp_path: Path) -> None:
    report = run(Options("zombie", seconds=1, stubs=2, faults=["api_stub sigstop long"]), tmp_path)
    print(report)  # noqa: T201 - shown of a test that fails
    assert report.violations == []


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["worker", "api_stub"])
def test_a_service_ends_with_status_0_within_10_s_of_sigterm_each_time(kind: str, tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        member = stage.of(kind)[0]
        for _ in range(3):
            assert eventually(lambda: member.has_worked and time.monotonic() - member.ready > YOUNG, 30)
            begin = time.monotonic()
            member.terminate()
            assert member.await_end(20)
            assert time.monotonic() - begin < 10
        assert member.ends == [0, 0, 0]
        assert stage.flows(15)
