"""The invariants I1 to I8: what a history, and what was found at its end, must have in common. Pure.

The names follow Jepsen: an event is lost if it was acknowledged and is nowhere, a phantom if nobody sent it.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.chaos.history import Operation

Document = Mapping[str, Any]

MSG_ID = "Nats-Msg-Id"
# Keys that the API stub adds to an event.
ADDED = ("_id", "received_at", "stream_seq")


class Violation(NamedTuple):
    """`subject` is the event's id, the slot or the fault that it was found at."""

    invariant: str
    subject: str
    what: str


class Consumer(NamedTuple):
    """The durable consumer after the last event: what it has yet to deliver, and the last sequence of the stream."""

    pending: int
    ack_pending: int
    ack_floor: int
    last_seq: int


class Feed(NamedTuple):
    """A worker's events, which are judged by their slots, since the worker keeps no history.

    `slots` must all be there. `edge` may be there: slots at whose time the workers were being started or stopped.
    `source`: what each event must name as the origin of its data; None where events carry none.
    """

    name: str
    slots: Sequence[datetime]
    edge: Sequence[datetime] = ()
    source: str | None = None


class Recovery(NamedTuple):
    """Seconds from the end of a fault until new events were stored again; None if that was not seen."""

    fault: str
    seconds: float | None


def check(
    operations: Sequence[Operation],
    events: Sequence[Document],
    dead_letters: Sequence[Document],
    *,
    feeds: Sequence[Feed] = (),
    consumer: Consumer | None = None,
    recoveries: Sequence[Recovery] = (),
    within: float = 15.0,
) -> list[Violation]:
    """All that is wrong. `within`: seconds that a recovery may take."""
    sent = _Sent(operations)
    names = tuple(f"{feed.name}@" for feed in feeds)
    others = [event for event in events if not str(event["_id"]).startswith(names)]
    found = list(_lost(sent, others, dead_letters))
    found += _twice(events, dead_letters)
    found += _phantoms(sent, others, dead_letters)
    for feed in feeds:
        found += _slots(feed, [event for event in events if str(event["_id"]).startswith(f"{feed.name}@")])
    found += _altered(sent, others)
    found += _undrained(consumer) if consumer else ()
    found += _letters(sent, dead_letters)
    found += _late(recoveries, within)
    return found


class _Sent:
    """The attempts by id. What was sent twice under one id has one body."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.attempts: dict[str, list[Operation]] = defaultdict(list)
        for operation in operations:
            self.attempts[operation.id].append(operation)
        self.acked = {operation.id: operation for operation in operations if operation.result == "ok"}
        self.possible = {operation.id for operation in operations if operation.result != "failed"}

    def seqs(self, identity: str) -> set[int | None]:
        """The places in the stream where the event may be; empty where one of them is not known."""
        attempts = self.attempts[identity]
        unknown = any(attempt.result == "unknown" for attempt in attempts) and identity not in self.acked
        return set() if unknown else {attempt.seq for attempt in attempts if attempt.result == "ok"}


def _identity(letter: Document) -> str:
    return str(letter["headers"].get(MSG_ID, letter["_id"]))


def _lost(sent: _Sent, events: Sequence[Document], letters: Sequence[Document]) -> Iterator[Violation]:
    """I1. A lost prefix or postfix is a matter of when a server began or stopped; a hole in the middle is worse."""
    stored = {event["_id"] for event in events} | {_identity(letter) for letter in letters}
    acked = sorted(sent.acked.values(), key=lambda operation: (operation.end, operation.id))
    there = [number for number, operation in enumerate(acked) if operation.id in stored]
    for number, operation in enumerate(acked):
        if operation.id not in stored:
            part = "prefix" if not there or number < there[0] else "postfix" if number > there[-1] else "middle"
            yield Violation("I1", operation.id, f"lost ({part}): acknowledged as seq {operation.seq}, stored nowhere")


def _twice(events: Iterable[Document], letters: Sequence[Document]) -> Iterator[Violation]:
    """I2, by id; by slot, `_slots` finds it."""
    stored = Counter(event["_id"] for event in events)
    buried = Counter(map(_identity, letters))
    for identity, count in (stored + buried).items():
        if count > 1:
            where = f"{stored[identity]} times in events, {buried[identity]} times in dead_letters"
            yield Violation("I2", str(identity), f"stored twice: {where}")


def _phantoms(sent: _Sent, events: Iterable[Document], letters: Iterable[Document]) -> Iterator[Violation]:
    """I3."""
    for identity in [*(str(event["_id"]) for event in events), *map(_identity, letters)]:
        if identity not in sent.possible:
            what = "every attempt to send it failed" if identity in sent.attempts else "nobody sent it"
            yield Violation("I3", identity, f"phantom: {what}")


def _slots(feed: Feed, events: Sequence[Document]) -> Iterator[Violation]:
    """I4, I2 by slot, and as much of I5 as is known of a worker's events."""
    stored = Counter(event["timestamp"] for event in events)
    for slot in feed.slots:
        if slot not in stored:
            yield Violation("I4", slot.isoformat(), f"slot missed: {feed.name} has no event")
    for slot in stored.keys() - set(feed.slots) - set(feed.edge):
        yield Violation("I4", slot.isoformat(), f"extra: {feed.name} has an event, and there is no such slot")
    for slot, count in stored.items():
        if count > 1:
            yield Violation("I2", slot.isoformat(), f"stored twice: {feed.name} has {count} events for one slot")
    for event in events:
        if event.get("source") != feed.source or bool(event.get("data")) != bool(feed.source):
            yield Violation("I5", event["_id"], f"altered: source {event.get('source')!r}, data {event.get('data')!r}")


def _altered(sent: _Sent, events: Iterable[Document]) -> Iterator[Violation]:
    """I5. JSON is read by another library than the API stub's."""
    for event in events:
        if not (attempts := sent.attempts.get(str(event["_id"]))):
            continue
        if not attempts[0].valid:
            yield Violation("I7", event["_id"], f"stored as an event, and it is none: {attempts[0].body[:60]!r}")
        elif (content := {key: value for key, value in event.items() if key not in ADDED}) != read(attempts[0].body):
            yield Violation("I5", event["_id"], f"altered: {attempts[0].body[:200]!r} became {str(content)[:200]}")
        elif (seqs := sent.seqs(event["_id"])) and event["stream_seq"] not in seqs:
            yield Violation("I5", event["_id"], f"altered: stream_seq {event['stream_seq']}, acknowledged as {seqs}")


def read(body: bytes) -> dict[str, Any]:
    """The event as MongoDB keeps it."""
    fields: dict[str, Any] = json.loads(body)
    instant = datetime.fromisoformat(fields["timestamp"]).astimezone(UTC)
    milliseconds = instant.microsecond // 1000  # all that MongoDB keeps
    return fields | {"timestamp": instant.replace(microsecond=1000 * milliseconds)}


def _undrained(consumer: Consumer) -> Iterator[Violation]:
    """I6."""
    if consumer.pending or consumer.ack_pending:
        yield Violation("I6", "consumer", f"not drained: {consumer.pending} pending, {consumer.ack_pending} in flight")
    if consumer.ack_floor != consumer.last_seq:
        yield Violation("I6", "consumer", f"ack floor {consumer.ack_floor}, last sequence {consumer.last_seq}")


def _letters(sent: _Sent, letters: Iterable[Document]) -> Iterator[Violation]:
    """I7. That there is one, and only one, is seen to by I1 and I2, since a malformed input may not be an event."""
    for letter in letters:
        identity = _identity(letter)
        if not (attempts := sent.attempts.get(identity)):
            continue
        if attempts[0].valid:
            yield Violation("I7", identity, f"a good event among the dead letters: {letter.get('reason')}")
        elif letter["raw"] != attempts[0].body:
            yield Violation("I7", identity, f"raw is {letter['raw'][:60]!r}, sent was {attempts[0].body[:60]!r}")
        if not letter.get("reason"):
            yield Violation("I7", identity, "the dead letter has no reason")
        if letter.get("stream_seq") is None or ((seqs := sent.seqs(identity)) and letter["stream_seq"] not in seqs):
            yield Violation("I7", identity, f"stream_seq {letter.get('stream_seq')} is not the acknowledged one")


def _late(recoveries: Iterable[Recovery], within: float) -> Iterator[Violation]:
    """I8."""
    for fault, seconds in recoveries:
        if seconds is None:
            yield Violation("I8", fault, "no recovery was seen")
        elif seconds > within:
            yield Violation("I8", fault, f"recovery took {seconds:.1f} s, more than {within:.1f} s")
