"""`crypto-updates audit`, against stacks that have all slots and stacks that do not."""

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from nats.aio.client import Client

from crypto_updates.bus.event import identity, text
from crypto_updates.local import ports
from crypto_updates.local.servers import NatsServer
from tests.e2e.conftest import STEADY, Stack
from tests.support import HANG_SECONDS, eventually, settled, soon

QUARTER = timedelta(minutes=15)


class Audit(NamedTuple):
    status: int
    output: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.output)
        return found


class History:
    """A feed of an event every 15 minutes. The newest slot is 8 minutes old, so that no test meets the next one."""

    def __init__(self, stack: Stack, age: timedelta = timedelta(minutes=8)) -> None:
        self.stack = stack
        self._newest = datetime.now(UTC).replace(second=0, microsecond=0) - age
        self.schedule = f"{self._newest.minute % 15}-59/15 * * * *"

    def slots(self, count: int) -> list[datetime]:
        """The newest ones, the oldest first."""
        return [self._newest - number * QUARTER for number in reversed(range(count))]

    def store(self, slots: list[datetime], feed: str = "crypto", lag: float = 1) -> None:
        self.stack.events.insert_many(
            {"_id": identity(feed, slot), "timestamp": slot, "received_at": slot + timedelta(seconds=lag), "data": []}
            for slot in slots
        )

    def remove(self, slots: list[datetime]) -> None:
        self.stack.events.delete_many({"timestamp": {"$in": slots}})

    def audit(self, *arguments: str, **environ: str) -> Audit:
        process = self.stack.run("stack", "audit", *arguments, **{"SCHEDULE": self.schedule} | environ)
        return Audit(process.wait(2 * HANG_SECONDS), "\n".join(process.lines))


@pytest.fixture
def history(stack: Stack) -> History:
    return History(stack)


def test_a_day_with_all_slots_is_a_good_end(history: History) -> None:
    history.store(history.slots(120))
    done = history.audit()
    assert done.status == 0
    assert "\nNo slot is missing.\n" in done.output
    total = next(line.split() for line in done.output.splitlines() if line.startswith("total"))
    assert total[1:6] == ["96", "96", "0", "0", "0"]


def test_missing_slots_are_named_as_ranges_and_the_exit_status_is_1(history: History) -> None:
    slots = history.slots(120)
    history.store(slots)
    gone = [slots[40], *slots[50:63]]
    history.remove(gone)
    done = history.audit("--since", "24h")
    assert done.status == 1
    named = [f"  {text(slots[40])}", f"  {text(slots[50])} to {text(slots[62])} (13 slots)"]
    lines = done.output.splitlines()
    place = lines.index("Missing:")
    assert lines[place + 1 : place + 3] == named
    document = history.audit("--since", "24h", "--json").document
    assert [(gap["from"], gap["to"], gap["slots"]) for gap in document["gaps"]] == [
        (text(slots[40]), text(slots[40]), 1),
        (text(slots[50]), text(slots[62]), 13),
    ]
    assert document["missing"] == 14 == document["expected"] - document["stored"]
    assert sum(row["missing"] for row in document["rows"]) == 14


def test_it_counts_what_came_late_and_what_came_without_data(history: History, stack: Stack) -> None:
    slots = history.slots(20)
    history.store(slots[:10])
    history.store(slots[10:13], lag=1000)
    history.store(slots[13:])
    stack.events.update_many({"timestamp": {"$in": slots[2:7]}}, {"$unset": {"data": 1}})
    found = history.audit("--since", "24h", "--json").document
    assert (found["expected"], found["late"], found["without_data"]) == (20, 3, 5)
    assert found["lag_seconds"] == {"p50": 1.0, "p99": 1000.0, "max": 1000.0}


def test_slots_before_the_first_event_ever_do_not_count_nor_does_one_published_by_hand(history: History) -> None:
    slots = history.slots(50)
    history.store(slots[30:])
    history.store(slots[:1], lag=100_000)
    done = history.audit("--since", "7d")
    assert done.status == 0
    assert f"{text(slots[30])} (its first slot) to " in done.output
    assert history.audit("--since", "7d", "--json").document["expected"] == 20


def test_a_slot_whose_event_may_still_come_does_not_count(stack: Stack) -> None:
    """The worker may take four minutes to fetch."""
    history = History(stack, age=timedelta(minutes=2))
    history.store(history.slots(5)[:4])
    assert history.audit().status == 0
    history = History(stack, age=timedelta(minutes=5))
    history.store(history.slots(5)[:4], "other")
    assert history.audit(FEED="other").status == 1


def test_other_feeds_and_other_schedules_events_make_up_for_nothing(history: History) -> None:
    slots = history.slots(12)
    history.store([slots[0], *slots[4:]])
    history.store(slots, "crypto-2")
    history.store([slot + timedelta(minutes=7) for slot in slots[:4]])
    done = history.audit("--since", "1d")
    assert done.status == 1
    assert f"  {text(slots[1])} to {text(slots[3])} (3 slots)" in done.output
    assert "Events at no slot of the schedule: 4;" in done.output
    assert history.audit(FEED="crypto-2").status == 0


# An id of the stream's sequence and time, one of core NATS, one of a CloudEvent, and a plain one.
FOREIGN = ["CRYPTO#7@2026-11-28T01:18:18.009398+00:00", "core@2026-11-28T01:18:18.009398+00:00#5f", "/other/1", "1"]


def seed_style(slots: list[datetime], past: timedelta = timedelta(milliseconds=26)) -> list[dict[str, Any]]:
    """Events without a feed, as from a worker that stamps them when it sends them."""
    return [
        {"_id": f"{FOREIGN[number % 4]}{number}", "timestamp": slot + past, "received_at": slot + 2 * past}
        for number, slot in enumerate(slots)
    ]


def test_an_event_without_a_feed_counts_for_its_slot_and_is_marked(history: History, stack: Stack) -> None:
    slots = history.slots(20)
    stack.events.insert_many(seed_style(slots[:12]))
    history.store(slots[10:18])
    done = history.audit()
    assert done.status == 1
    assert f"  {text(slots[18])} to {text(slots[19])} (2 slots)" in done.output
    assert "\nForeign: 10 of the stored slots have no event of feed crypto, " in done.output
    found = history.audit("--json").document
    assert (found["expected"], found["stored"], found["foreign"], found["at_no_slot"]) == (20, 18, 10, 0)
    assert found["newest_stored"] == text(slots[17])
    stack.events.insert_many(event | {"_id": f"later{event['_id']}"} for event in seed_style(slots[18:]))
    complete = history.audit("--json")
    assert (complete.status, complete.document["newest_stored"]) == (0, text(slots[19]))


def test_where_only_others_events_are_stored_they_are_audited(history: History, stack: Stack) -> None:
    slots = history.slots(8)
    stack.events.insert_many(seed_style(slots))
    # Published by hand for a slot long past: no beginning.
    stack.events.insert_one({"_id": "2", "timestamp": slots[0] - 40 * QUARTER, "received_at": slots[0] + 99 * QUARTER})
    done = history.audit()
    assert done.status == 0
    assert f"{text(slots[0])} (its first slot) to " in done.output
    assert history.audit(FEED="other").status == 0
    verified = stack.run("stack", "verify", SCHEDULE=history.schedule)
    verified.wait()
    lines = "\n".join(verified.lines)
    assert f"newest event of feed crypto: {text(slots[7])} (foreign: its id names no feed)" in lines
    assert "all stored, 8 of them by foreign events, whose ids name no feed" in lines


@pytest.mark.parametrize("past", [timedelta(milliseconds=-1), timedelta(seconds=1), timedelta(minutes=2)])
def test_an_event_without_a_feed_at_another_time_counts_for_nothing(
    past: timedelta, history: History, stack: Stack
) -> None:
    slots = history.slots(5)
    history.store([slots[0], slots[4]])
    stack.events.insert_many(seed_style(slots[1:4], past))
    done = history.audit("--json")
    assert (done.status, done.document["missing"], done.document["foreign"]) == (1, 3, 0)


def test_an_event_in_parts_is_one_slot(history: History, stack: Stack) -> None:
    slots = history.slots(4)
    documents = [
        {"_id": identity("crypto", slot, part), "timestamp": slot, "received_at": slot + part * timedelta(seconds=1)}
        for slot in slots
        for part in (1, 2)
    ]
    stack.events.insert_many(documents)
    found = history.audit("--json").document
    assert (found["expected"], found["stored"], found["lag_seconds"]["p50"]) == (4, 4, 2.0)


@pytest.mark.timeout(120)
def test_it_and_verify_agree_on_a_running_stack(history: History, stack: Stack) -> None:
    assert stack.run("stack", "provision").wait() == 0
    stack.api_stub()
    stack.worker(**STEADY)
    assert eventually(lambda: stack.events.count_documents({}) >= 6)
    complete = history.audit("--since", "60s", "--json", SCHEDULE="* * * * * *")
    assert complete.status == 0
    assert complete.document["expected"] >= 3
    assert complete.document["nats"]["newest_published"] >= complete.document["until"][:17]
    gone = stack.slots()[2:4]
    history.remove(gone)
    assert eventually(lambda: datetime.now(UTC) - gone[1] > timedelta(seconds=5))
    named = f"{text(gone[0])} to {text(gone[1])} (2 slots)"
    assert named in history.audit("--since", "1h", SCHEDULE="* * * * * *").output
    verified = stack.run("stack", "verify")
    assert verified.wait() == 1
    assert any("No slot missing" in line and line.endswith(f": {named}") for line in verified.lines)


async def test_it_tells_what_waits_in_the_stream_and_the_dead_letters_of_the_span(
    history: History, stack: Stack, publisher: Client
) -> None:
    assert stack.run("stack", "provision").wait() == 0
    slots = history.slots(4)
    history.store(slots[:3])
    now = datetime.now(UTC)
    stack.dead_letters.insert_many([{"received_at": now - timedelta(hours=hours)} for hours in (1, 5, 50)])
    body = f'{{"event":"CRYPTO_UPDATE","timestamp":"{text(slots[3])}"}}'.encode()
    for key in (identity("crypto", slots[3]), "other"):
        await publisher.publish("crypto.updates", body, headers={"Nats-Msg-Id": key})
    await settled(publisher)
    found = history.audit("--json").document
    assert found["dead_letters"] == 2
    assert (found["newest_stored"], found["nats"]["newest_published"]) == (text(slots[2]), text(slots[3]))
    assert (found["nats"]["messages"], found["nats"]["pending"], found["nats"]["ack_pending"]) == (2, 2, 0)
    output = history.audit().output
    assert "NATS: 2 messages in the stream; consumer: 2 waiting, 0 unacknowledged, 0 redelivered" in output
    assert ": 2 (crypto-updates dead-letters list)" in output


async def test_it_tells_what_is_unacknowledged_and_redelivered(
    history: History, stack: Stack, publisher: Client
) -> None:
    assert stack.run("stack", "provision").wait() == 0
    history.store(history.slots(1))
    js = publisher.jetstream()
    for body in (b"one", b"two"):
        await js.publish("crypto.updates", body)
    subscription = await js.pull_subscribe_bind("api_stub", "CRYPTO")
    messages = await subscription.fetch(2)
    await messages[0].nak()
    await subscription.fetch(1)
    flow: dict[str, int] = {}

    def told() -> bool:
        flow.update(history.audit("--json").document["nats"])
        return flow["redelivered"] > 0

    assert await soon(told)
    assert (flow["pending"], flow["ack_pending"], flow["redelivered"]) == (0, 2, 1)


@pytest.mark.parametrize("missing", [0, 1])
def test_without_nats_the_table_and_the_exit_status_are_the_same(history: History, missing: int) -> None:
    slots = history.slots(5)
    history.store(slots)
    history.remove(slots[2 : 2 + missing])
    done = history.audit(NATS_URL=f"nats://someone:s3cret@127.0.0.1:{ports.free()}")
    assert done.status == missing
    assert "\ntotal " in done.output
    assert "\nNATS: CONNECTION_REFUSED nats://***@127.0.0.1:" in done.output
    assert "s3cret" not in done.output


def test_a_frozen_nats_is_told_in_time(history: History, stack: Stack) -> None:
    history.store(history.slots(2))
    stack.nats.kill(signal.SIGSTOP)
    begin = time.monotonic()
    done = history.audit()
    assert time.monotonic() - begin < 12
    assert done.status == 0
    assert "\nNATS: TIMEOUT " in done.output


def test_a_nats_without_stream_or_jetstream_is_told(history: History) -> None:
    history.store(history.slots(2))
    assert "\nNATS: there is no stream CRYPTO: run `crypto-updates provision`" in history.audit().output
    with NatsServer(jetstream=False) as server:
        assert "\nNATS: The NATS server has no JetStream: " in history.audit(NATS_URL=server.url).output


def test_a_user_who_may_not_ask_nats_is_told_and_json_stays_json(history: History) -> None:
    history.store(history.slots(2))
    rights = '{publish: {allow: ["crypto.updates"]}, subscribe: {allow: ["_INBOX.>"]}}'
    users = f"{{user: worker, password: p, permissions: {rights}}}"
    with NatsServer(config=f"accounts {{ A {{ jetstream: enabled, users: [{users}] }} }}") as server:
        done = history.audit("--json", NATS_URL=server.url, NATS_USER="worker", NATS_PASSWORD="p")
    assert (done.status, done.document["nats"]) == (0, None)
    assert done.document["nats_problem"].startswith("the user may not publish on $JS.API.STREAM.INFO.CRYPTO: ")


def test_without_mongodb_there_is_no_audit(history: History) -> None:
    begin = time.monotonic()
    done = history.audit("--json", MONGO_URL=f"mongodb://someone:s3cret@127.0.0.1:{ports.free()}")
    assert time.monotonic() - begin < 10
    assert done.status == 3
    assert done.output.splitlines()[-1] == "verify that MongoDB is running (docker ps), and MONGO_URL"
    assert "s3cret" not in done.output


def test_where_nothing_is_stored_there_is_nothing_to_audit(history: History) -> None:
    history.store(history.slots(3), "other")
    done = history.audit()
    assert done.status == 3
    assert done.output.startswith("no event of feed crypto is stored in ")


def test_a_span_without_a_slot_has_no_gap(history: History) -> None:
    history.store(history.slots(3))
    done = history.audit("--since", "1s")
    assert done.status == 0
    assert "\nNo slot was due.\n" in done.output


@pytest.mark.parametrize("span", ["3x", "2099-01-01"])
def test_a_bad_span_is_bad_use(history: History, span: str) -> None:
    done = history.audit("--since", span)
    assert done.status == 2
    assert f"--since '{span}': " in done.output
    assert "; accepted: 90s, 90m, 24h, 7d, or an ISO 8601 time" in done.output


def test_a_bad_configuration_is_told_as_the_services_tell_it(history: History) -> None:
    done = history.audit(SCHEDULE="nonsense")
    assert (done.status, done.output.startswith("SCHEDULE=nonsense: ")) == (2, True)
