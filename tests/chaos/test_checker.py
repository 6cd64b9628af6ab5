"""The checker finds what is planted, and nothing in what is clean."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import Consumer, Feed, Recovery, Violation, check
from tests.chaos.history import History, Operation

BEGIN = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
SLOTS = [BEGIN + timedelta(seconds=second) for second in range(5)]
DRAINED = Consumer(pending=0, ack_pending=0, ack_floor=12, last_seq=12)


class Found:
    """A clean end: events 0 to 7 sent, of which 2 and 5 are malformed, and five slots of a worker."""

    def __init__(self) -> None:
        self.operations = [sent(number, valid=number not in (2, 5)) for number in range(8)]
        self.events: list[dict[str, Any]] = [stored(o) for o in self.operations if o.valid]
        self.events += [slot_event(slot, seq) for seq, slot in enumerate(SLOTS, 8)]
        self.letters: list[dict[str, Any]] = [buried(o) for o in self.operations if not o.valid]
        self.feed = Feed("crypto", SLOTS, source="simulated")
        self.consumer = DRAINED
        self.recoveries = [Recovery("nats sigkill", 2.0)]

    def violations(self) -> list[Violation]:
        return check(
            self.operations,
            self.events,
            self.letters,
            feeds=[self.feed],
            consumer=self.consumer,
            recoveries=self.recoveries,
            within=10,
        )

    def event(self, identity: str) -> dict[str, Any]:
        return {event["_id"]: event for event in self.events}[identity]

    def remove(self, identity: str) -> None:
        self.events = [event for event in self.events if event["_id"] != identity]

    def change(self, number: int, **fields: Any) -> None:  # noqa: ANN401 - those of an Operation
        self.operations[number] = self.operations[number]._replace(**fields)


def sent(number: int, *, valid: bool = True) -> Operation:
    fields = {"event": "CRYPTO_UPDATE", "timestamp": "2023-11-21T14:30:00.123456+01:00", "n": number, "é": [1.5, None]}
    body = json.dumps(fields).encode() if valid else b'{"event":%d}' % number
    return Operation(f"load@{number}", body, number, number + 0.5, "ok", seq=number, valid=valid)


def stored(operation: Operation) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(operation.body)
    at = datetime(2023, 11, 21, 13, 30, 0, 123000, tzinfo=UTC)
    return fields | {"_id": operation.id, "timestamp": at, "received_at": BEGIN, "stream_seq": operation.seq}


def slot_event(slot: datetime, seq: int) -> dict[str, Any]:
    fields = {"event": "CRYPTO_UPDATE", "timestamp": slot, "source": "simulated", "data": [{"coin": "bitcoin"}]}
    return fields | {"_id": f"crypto@{slot:%Y-%m-%dT%H:%M:%SZ}", "received_at": slot, "stream_seq": seq}


def buried(operation: Operation) -> dict[str, Any]:
    headers = {"Nats-Msg-Id": operation.id}
    letter = {"_id": f"CRYPTO#{operation.seq}", "raw": operation.body, "headers": headers, "reason": "timestamp"}
    return letter | {"stream_seq": operation.seq, "received_at": BEGIN}


def test_a_clean_end_has_no_violation() -> None:
    assert Found().violations() == []


@pytest.mark.parametrize(
    ("lost", "part"), [(["load@0"], "prefix"), (["load@3", "load@4"], "middle"), (["load@7"], "postfix")]
)
def test_a_lost_event_is_found_and_where_it_was(lost: list[str], part: str) -> None:
    found = Found()
    for identity in lost:
        found.remove(identity)
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I1", identity) for identity in lost]
    assert all(f"lost ({part})" in v.what for v in found.violations())


def test_a_lost_dead_letter_is_found() -> None:
    found = Found()
    del found.letters[0]
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I1", "load@2")]


def test_when_all_is_lost_each_is_told() -> None:
    found = Found()
    found.events, found.letters = [], []
    assert [v.invariant for v in found.violations()] == ["I1"] * 8 + ["I4"] * 5


def twice_in_events(found: Found) -> None:
    found.events.append(found.event("load@3"))


def in_both_collections(found: Found) -> None:
    found.letters.append(buried(found.operations[3]))


def buried_twice(found: Found) -> None:
    found.letters.append(found.letters[0] | {"_id": "CRYPTO#99"})


def unknown_and_twice(found: Found) -> None:
    found.change(3, result="unknown", seq=None)
    twice_in_events(found)


def a_slot_twice(found: Found) -> None:
    found.events.append(slot_event(SLOTS[2], 13) | {"_id": "crypto@7f3a"})


@pytest.mark.parametrize("plant", [twice_in_events, in_both_collections, buried_twice, unknown_and_twice, a_slot_twice])
def test_a_duplicate_is_found(plant: Callable[[Found], None]) -> None:
    found = Found()
    plant(found)
    assert "I2" in {v.invariant for v in found.violations()}


def test_a_phantom_is_found() -> None:
    found = Found()
    found.events.append(stored(sent(8)))
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I3", "load@8")]


def test_what_nobody_sent_and_what_every_attempt_failed_to_send_are_phantoms() -> None:
    found = Found()
    found.change(3, result="failed", seq=None)
    found.letters.append(found.letters[0] | {"headers": {}, "_id": "CRYPTO#77@x"})
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I3", "load@3"), ("I3", "CRYPTO#77@x")]


@pytest.mark.parametrize("present", [True, False])
def test_an_unknown_operation_may_be_there_or_not(present: bool) -> None:  # noqa: FBT001 - the parameter
    found = Found()
    found.change(3, result="unknown", seq=None)
    if not present:
        found.remove("load@3")
    assert found.violations() == []


def test_an_unknown_operation_that_was_acknowledged_on_retry_must_be_there() -> None:
    found = Found()
    found.operations.append(found.operations[3]._replace(duplicate=True))
    found.change(3, result="unknown", seq=None)
    assert found.violations() == []
    found.remove("load@3")
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I1", "load@3")]


def test_a_missed_slot_is_found() -> None:
    found = Found()
    found.remove("crypto@2023-11-21T14:30:02Z")
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I4", "2023-11-21T14:30:02+00:00")]


def test_a_slot_off_the_schedule_is_found_but_one_on_the_edge_is_none() -> None:
    found = Found()
    slot = BEGIN + timedelta(seconds=5)
    found.events.append(slot_event(slot, 13))
    assert [(v.invariant, v.what[:5]) for v in found.violations()] == [("I4", "extra")]
    found.feed = found.feed._replace(edge=[slot])
    assert found.violations() == []


@pytest.mark.parametrize("change", [{"n": 4}, {"more": 1}, {"timestamp": BEGIN}, {"é": [1.5]}, {"stream_seq": 4}])
def test_altered_content_is_found(change: dict[str, Any]) -> None:
    found = Found()
    found.event("load@3").update(change)
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I5", "load@3")]


def test_a_slot_without_its_data_is_found() -> None:
    found = Found()
    del found.event("crypto@2023-11-21T14:30:02Z")["data"]
    assert [v.invariant for v in found.violations()] == ["I5"]


@pytest.mark.parametrize("change", [{"pending": 1}, {"ack_pending": 1}, {"ack_floor": 11}, {"ack_floor": 13}])
def test_a_consumer_that_is_not_drained_is_found(change: dict[str, int]) -> None:
    found = Found()
    found.consumer = DRAINED._replace(**change)
    assert [v.invariant for v in found.violations()] == ["I6"]


@pytest.mark.parametrize("change", [{"raw": b"{}"}, {"reason": ""}, {"stream_seq": None}, {"stream_seq": 3}])
def test_a_dead_letter_that_does_not_tell_is_found(change: dict[str, Any]) -> None:
    found = Found()
    found.letters[0].update(change)
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I7", "load@2")]


def test_a_good_event_in_the_wrong_collection_is_found() -> None:
    found = Found()
    found.remove("load@3")
    found.letters.append(buried(found.operations[3]))
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I7", "load@3")]


def test_a_malformed_input_in_the_wrong_collection_is_found() -> None:
    found = Found()
    del found.letters[0]
    found.events.append({"_id": "load@2", "event": 2, "received_at": BEGIN, "stream_seq": 2})
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I7", "load@2")]


@pytest.mark.parametrize("seconds", [10.1, None])
def test_a_late_recovery_is_found(seconds: float | None) -> None:
    found = Found()
    found.recoveries.append(Recovery("link cut", seconds))
    assert [(v.invariant, v.subject) for v in found.violations()] == [("I8", "link cut")]


@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 4)), st.sets(st.integers(0, 7)))
def test_it_finds_what_was_planted_and_no_more(lost: set[int], missed: set[int], again: set[int]) -> None:
    found = Found()
    again -= lost
    events, letters = found.events, found.letters
    gone = {f"load@{number}" for number in lost} | {f"crypto@{SLOTS[n]:%Y-%m-%dT%H:%M:%SZ}" for n in missed}
    copies = {f"load@{number}" for number in again}
    found.events = [e for e in events if e["_id"] not in gone] + [e for e in events if e["_id"] in copies]
    found.letters = [e for e in letters if e["headers"]["Nats-Msg-Id"] not in gone]
    found.letters += [e for e in letters if e["headers"]["Nats-Msg-Id"] in copies]
    assert {(v.invariant, v.subject) for v in found.violations()} == {
        *(("I1", f"load@{number}") for number in lost),
        *(("I4", SLOTS[number].isoformat()) for number in missed),
        *(("I2", f"load@{number}") for number in again),
    }


def test_a_history_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    history = History([sent(1), sent(2, valid=False)._replace(body=b"\xff\x00", result="unknown", seq=None)])
    history.dump(tmp_path / "history.jsonl")
    assert History.load(tmp_path / "history.jsonl").operations == history.operations
    assert history.acked == 1
