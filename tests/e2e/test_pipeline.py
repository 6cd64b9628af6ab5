"""worker -> NATS -> API stub -> MongoDB, on the real servers."""

import asyncio
import json
import signal
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from nats.aio.client import Client

from crypto_updates.bus.message import MAX_ID_BYTES
from crypto_updates.bus.stream import ACK_WAIT_SECONDS
from crypto_updates.harness.market import Market
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod
from tests.e2e.conftest import STEADY, Stack, gaps, publish_raw
from tests.support import asked, asking, drained, eventually, just_passed, settled, soon

ONCE_A_YEAR = "0 14 21 11 *"  # no slot passes during a test


def get(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        shown: dict[str, Any] = json.load(answer)
        return shown


def test_each_slot_is_stored_with_data_at_its_own_time(stack: Stack) -> None:
    stack.api_stub()
    worker = stack.worker(**STEADY)
    assert eventually(lambda: stack.events.count_documents({}) >= 3)
    assert worker.wait_for_line("[CRON] Scheduled job initialized (every second)")
    event = stack.events.find_one(sort=[("timestamp", -1)])
    assert event is not None
    assert set(event) == {
        *("_id", "event", "timestamp", "source", "data", "fetched_at", "traceparent", "received_at", "stream_seq"),
    }
    assert event["_id"] == f"crypto@{event['timestamp']:%Y-%m-%dT%H:%M:%SZ}"
    assert event["source"] == "simulated"
    assert [quote["coin"] for quote in event["data"]] == ["bitcoin", "ethereum", "polygon-ecosystem-token"]
    assert eventually(lambda: gaps(stack.slots(), 1) == [])
    lags = [(stored["received_at"] - stored["timestamp"]).total_seconds() for stored in stack.events.find()]
    assert min(lags) >= 0
    assert sorted(lags)[-2] < 2  # the machine may hold up one of them


@pytest.mark.timeout(120)
def test_two_workers_through_an_outage_of_nats_give_one_event_a_slot(stack: Stack) -> None:
    stack.api_stub()
    workers = [stack.worker(SCHEDULE="*/5 * * * * *", MISSED_SLOTS="none") for _ in range(2)]
    for worker in workers:
        worker.wait_for_line("[NATS] Connected")
    begin = datetime.now(UTC)
    assert eventually(lambda: stack.events.count_documents({}) >= 2, 20)
    stack.nats.kill(signal.SIGKILL)
    time.sleep(20)  # the outage itself, not a wait for something to happen
    stack.nats.start()
    assert eventually(lambda: len([s for s in stack.slots() if s > begin]) >= 12, 60)
    assert eventually(lambda: gaps([slot for slot in stack.slots() if slot > begin], 5) == [], ACK_WAIT_SECONDS + 10)
    slots = [slot for slot in stack.slots() if slot > begin][:12]
    assert all(slot.second % 5 == 0 and slot.microsecond == 0 for slot in slots)
    assert len(set(slots)) == len(slots)
    assert all("data" in event for event in stack.events.find())


def test_services_start_before_their_servers_and_wait(stack: Stack) -> None:
    stack.nats.stop()
    stub = stack.run("api_stub")
    worker = stack.worker()
    for process in (stub, worker):
        line = process.wait_for_line("CONNECTION_REFUSED")
        wanted = f"[NATS] CONNECTION_REFUSED {stack.nats.url}: verify that the NATS server is running (docker ps)"
        assert line == f"{wanted}; retrying in 2 s (warning)"
    stack.nats.start()
    assert eventually(lambda: stack.events.count_documents({}) >= 3)


def test_a_connection_that_fails_for_long_is_not_told_at_every_attempt(stack: Stack) -> None:
    stack.nats.stop()
    worker = stack.worker()
    worker.wait_for_line("CONNECTION_REFUSED")
    assert not eventually(lambda: sum("CONNECTION_REFUSED" in line for line in worker.lines) > 1, 6)


async def test_an_event_of_the_node_worker_in_its_own_form_is_stored(stack: Stack, publisher: Client) -> None:
    stack.api_stub()
    await publisher.publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00.123Z"}')
    await settled(publisher)
    assert await soon(lambda: stack.events.count_documents({}) == 1)
    event = stack.events.find_one()
    assert event is not None
    assert event["timestamp"] == datetime(2023, 11, 21, 14, 30, 0, 123000, tzinfo=UTC)
    assert event["_id"].startswith("CRYPTO#1@")


async def test_an_invalid_event_becomes_a_dead_letter_and_is_told(stack: Stack, publisher: Client) -> None:
    stub = stack.api_stub()
    await publisher.publish("crypto.updates", b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}', headers={"x": "y"})
    await settled(publisher)
    line = stub.wait_for_line("[EVENT] Invalid")
    reason = "timestamp: not an ISO 8601 time"
    assert line == f"[EVENT] Invalid event format: {reason} (seq 1): moved to dead_letters (warning)"
    letter = stack.dead_letters.find_one()
    assert letter is not None
    assert (letter["raw"], letter["headers"]) == (b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}', {"x": "y"})
    assert (letter["reason"], letter["stream_seq"]) == (reason, 1)


def test_sigterm_ends_both_services_with_status_0_within_10_s(stack: Stack) -> None:
    processes = [stack.api_stub(), stack.worker()]
    assert eventually(lambda: stack.events.count_documents({}) >= 1)
    for process in processes:
        begin = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - begin < 10


def test_the_api_stub_ends_and_names_the_port_that_is_taken(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        process = stack.run("api_stub", HTTP_PORT=str(port))
        assert process.wait() == 1
    assert f"[HTTP] HTTP_HOST=127.0.0.1 HTTP_PORT={port}: Address already in use" in "\n".join(process.lines)


def test_a_stored_event_is_shown_and_readiness_tells_the_truth(stack: Stack) -> None:
    port = ports.free()
    stack.api_stub(HTTP_PORT=str(port))
    for slot in ("2023-11-21T14:15:00Z", "2023-11-21T14:30:00Z", "2023-11-21T14:45:00Z"):
        assert stack.worker("--once", "--slot", slot).wait() == 0
    assert eventually(lambda: stack.events.count_documents({}) == 3)
    page = get(port, "/events?limit=2")
    assert [event["timestamp"] for event in page["events"]] == ["2023-11-21T14:45:00Z", "2023-11-21T14:30:00Z"]
    rest = get(port, f"/events?limit=2&cursor={page['next']}")
    assert [event["timestamp"] for event in rest["events"]] == ["2023-11-21T14:15:00Z"]
    assert rest["next"] is None
    assert get(port, "/livez") == {"status": "alive"}
    assert get(port, "/readyz") == {"status": "ready"}
    stack.nats.kill(signal.SIGSTOP)
    with pytest.raises(urllib.error.HTTPError, match="503") as refused:
        get(port, "/readyz")
    assert "NATS" in json.loads(refused.value.read())["reasons"][0]
    stack.nats.kill(signal.SIGCONT)


def test_the_latest_slot_is_published_at_the_start_and_only_once(stack: Stack) -> None:
    stack.api_stub()
    first = stack.worker(SCHEDULE="@yearly")
    first.wait_for_line("[PUBLISH] Sent crypto.update event at 00:00:00", 15)
    assert first.stop() == 0
    again = stack.worker(SCHEDULE="@yearly", LOG_LEVEL="debug")
    again.wait_for_line("[NATS] Connected")
    assert not eventually(lambda: any("[PUBLISH]" in line for line in again.lines), 3)
    assert eventually(lambda: stack.events.count_documents({}) == 1)


def pausing(seconds: int) -> str:
    """A slot each second, but for the next ones: a slot that comes while the worker starts is none that was missed."""
    now = datetime.now(UTC).second
    return ",".join(str(second) for second in range(60) if (second - now - 1) % 60 >= seconds) + " * * * * *"


@pytest.mark.parametrize(("policy", "stored"), [("latest", slice(-1, None)), ("all", slice(None)), ("none", slice(0))])
def test_missed_slots_are_told_and_treated_as_asked(stack: Stack, policy: str, stored: slice) -> None:
    stack.api_stub()
    first = stack.worker()
    assert eventually(lambda: stack.events.count_documents({}) >= 2)
    assert first.stop() == 0
    time.sleep(5)  # the outage itself
    last = max(stack.slots())
    second = stack.worker(MISSED_SLOTS=policy, SCHEDULE=pausing(8))
    line = second.wait_for_line("[CRON] Missed schedules: ")
    count = int(line.removeprefix("[CRON] Missed schedules: ").split()[0])
    assert count >= 4
    missed = [last + timedelta(seconds=number + 1) for number in range(count)]
    assert eventually(lambda: max(stack.slots()) > missed[-1] + timedelta(seconds=2))
    assert eventually(lambda: [slot for slot in stack.slots() if slot in missed] == missed[stored])


def test_mongodb_out_of_order_holds_the_events_and_is_told_once(stack: Stack, mongod: Mongod) -> None:
    stub = stack.api_stub()
    stack.worker(**STEADY)
    assert eventually(lambda: stack.events.count_documents({}) >= 2)
    mongod.kill(signal.SIGKILL)
    stub.wait_for_line("[MONGO] MongoDB is unavailable", 20)
    time.sleep(5)  # the outage itself
    mongod.start()
    stub.wait_for_line("[MONGO] Storing again", 20)
    assert sum("[MONGO] MongoDB is unavailable" in line for line in stub.lines) == 1
    before = stack.events.count_documents({})
    assert eventually(lambda: stack.events.count_documents({}) >= before + 2)
    assert eventually(lambda: gaps(stack.slots(), 1) == [])
    assert stack.dead_letters.count_documents({}) == 0


def test_a_frozen_nats_server_is_noticed_and_recovered_from(stack: Stack) -> None:
    stub: Process = stack.api_stub()
    stack.worker(**STEADY)
    assert eventually(lambda: stack.events.count_documents({}) >= 2)
    stack.nats.kill(signal.SIGSTOP)
    stub.wait_for_line("[NATS] Disconnected", 15)
    stack.nats.kill(signal.SIGCONT)
    before = stack.events.count_documents({})
    assert eventually(lambda: stack.events.count_documents({}) >= before + 8, 20)
    # What the server had sent to the connection given up comes again after the ack wait.
    assert eventually(lambda: gaps(stack.slots(), 1) == [], ACK_WAIT_SECONDS + 10)


@pytest.mark.parametrize("down", ["nats", "mongo"])
def test_sigterm_is_obeyed_within_10_s_with_a_server_down(stack: Stack, mongod: Mongod, down: str) -> None:
    processes = [stack.api_stub(), stack.worker()]
    assert eventually(lambda: stack.events.count_documents({}) >= 1)
    server = stack.nats if down == "nats" else mongod
    server.kill(signal.SIGKILL)
    try:
        lost = "[NATS] CONNECTION_REFUSED" if down == "nats" else "[MONGO] MongoDB is unavailable"
        processes[0].wait_for_line(lost, 20)
        for process in processes:
            begin = time.monotonic()
            assert process.stop(15) == 0
            assert time.monotonic() - begin < 10
    finally:
        server.start()


@pytest.mark.timeout(120)
async def test_a_backlog_of_large_events_is_stored(stack: Stack, publisher: Client) -> None:
    body = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","data":"' + 900_000 * b"x" + b'"}'
    js = publisher.jetstream()
    await js.add_stream(name="CRYPTO", subjects=["crypto.updates"])
    for _ in range(100):
        await js.publish("crypto.updates", body)
    stack.api_stub()
    assert await soon(lambda: stack.events.count_documents({}) == 100, 60)


async def test_what_an_own_stream_takes_on_other_subjects_does_not_hold_the_events_back(
    stack: Stack, publisher: Client
) -> None:
    js = publisher.jetstream()
    await js.add_stream(name="CRYPTO", subjects=["crypto.*"])
    for subject in ("crypto.other", "crypto.updates"):
        await js.publish(subject, b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}')
    stack.api_stub()
    assert await soon(lambda: stack.events.count_documents({}) == 2)
    await drained(js, "api_stub")  # acknowledged after it was stored


async def test_what_was_not_stored_was_not_acknowledged(stack: Stack, mongod: Mongod, publisher: Client) -> None:
    stub = stack.api_stub()
    mongod.kill(signal.SIGKILL)
    try:
        for number in range(20):
            body = f'{{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:{number:02}Z"}}'
            await publisher.publish("crypto.updates", body.encode())
        await settled(publisher)
        await asyncio.to_thread(stub.wait_for_line, "[MONGO] MongoDB is unavailable", 20)
        stub.kill()
    finally:
        mongod.start()
    consumer = await publisher.jetstream().consumer_info("CRYPTO", "api_stub")
    assert consumer.ack_floor is not None
    assert consumer.ack_floor.stream_seq == 0
    await asyncio.to_thread(stack.api_stub)
    assert await soon(lambda: stack.events.count_documents({}) == 20, 50)


async def test_a_stream_deleted_under_a_live_stack_is_made_again(stack: Stack, publisher: Client) -> None:
    stack.api_stub()
    stack.worker(**STEADY)
    assert await soon(lambda: stack.events.count_documents({}) >= 2)
    await publisher.jetstream().delete_stream("CRYPTO")
    before = stack.events.count_documents({})
    assert await soon(lambda: stack.events.count_documents({}) >= before + 8, 30)
    assert await soon(lambda: gaps(stack.slots(), 1) == [])


def test_a_slot_published_by_hand_is_not_taken_for_the_newest(stack: Stack) -> None:
    first = stack.worker(SCHEDULE=ONCE_A_YEAR)
    first.wait_for_line("[PUBLISH] Sent")
    assert first.stop() == 0
    assert stack.worker("--once", "--slot", "2023-11-21T14:00:00Z").wait() == 0
    assert stack.worker("--once", "--slot", "2099-11-21T14:00:00Z").wait() == 0
    again = stack.worker(SCHEDULE=ONCE_A_YEAR)
    again.wait_for_line("[NATS] Connected")
    assert not eventually(lambda: any("Missed" in line or "[PUBLISH]" in line for line in again.lines), 3)


async def test_a_slot_in_the_middle_of_its_fetch_is_still_published_after_sigterm(stack: Stack) -> None:
    with Market(delay=1) as market:
        worker = stack.worker(SCHEDULE=just_passed(), **asking(market))
        assert await soon(lambda: asked(market))
        assert await asyncio.to_thread(worker.stop) == 0
    assert worker.wait_for_line("[PUBLISH] Sent crypto.update event at")
    assert not any("without" in line for line in worker.lines)


async def test_a_slot_whose_fetch_does_not_end_in_time_is_published_without_data(stack: Stack) -> None:
    with Market(delay=None) as market:
        worker = stack.worker(SCHEDULE=just_passed(), **asking(market))
        assert await soon(lambda: asked(market))
        assert await asyncio.to_thread(worker.stop) == 0

    assert worker.wait_for_line("[PUBLISH] Sent crypto.update event at")


def test_a_slot_published_by_hand_is_no_beginning(stack: Stack) -> None:
    assert stack.worker("--once", "--slot", "2023-11-21T14:00:00Z").wait() == 0
    worker = stack.worker(SCHEDULE=ONCE_A_YEAR)
    worker.wait_for_line("[PUBLISH] Sent")
    assert not any("Missed" in line for line in worker.lines)


def at(second: int, **more: object) -> bytes:
    return json.dumps({"event": "CRYPTO_UPDATE", "timestamp": f"2023-11-21T14:30:{second:02}Z"} | more).encode()


async def test_another_event_of_the_same_id_is_a_dead_letter_that_can_be_replayed(
    stack: Stack, publisher: Client
) -> None:
    stub = stack.api_stub()
    # The stream forgets ids at once, as after its window.
    js = publisher.jetstream()
    config = (await js.stream_info("CRYPTO")).config
    await js.update_stream(config, duplicate_window=0.1)
    headers = {"Nats-Msg-Id": "1"}
    for body in (at(1, x="first"), at(1, x="copy"), at(2, x="other")):
        sent = await js.publish("crypto.updates", body, headers=headers)
        assert not sent.duplicate
        await asyncio.sleep(0.3)  # the window itself
        # Two batches may be stored at once, and then the later event of an id may be the first.
        assert await soon(lambda: stack.events.count_documents({}) == 1)
    assert await soon(lambda: stack.dead_letters.count_documents({}) == 1)
    assert [event["x"] for event in stack.events.find()] == ["first"]
    letter = stack.dead_letters.find_one({}) or {}
    assert (letter["reason"], letter["raw"]) == ("another event is stored as 1", at(2, x="other"))
    stub.wait_for_line("[EVENT] Already stored: 1 (seq 2)")
    assert stack.run("stack", "dead-letters", "replay", "--all").wait() == 1
    assert stack.run("stack", "dead-letters", "replay", "--all", "--own-id").wait() == 0
    assert {event["_id"]: event["x"] for event in stack.events.find()} == {"1": "first", letter["_id"]: "other"}
    assert stack.dead_letters.count_documents({}) == 0


async def test_of_two_ids_in_a_message_the_first_counts_as_for_the_stream(stack: Stack, publisher: Client) -> None:
    stack.api_stub()
    for first, second, x in (("a", "z", 1), ("b", "z", 2), ("a", "y", 3), ("c", "z", 4)):
        await publish_raw(stack.nats, f"Nats-Msg-Id: {first}\r\nNats-Msg-Id: {second}".encode(), at(0, x=x))
    # The server stores a message a moment after it has read it. The last one comes behind the copy.
    assert await soon(lambda: stack.events.count_documents({"_id": "c"}) == 1)
    assert (await publisher.jetstream().stream_info("CRYPTO")).state.messages == 3
    assert await soon(lambda: stack.events.count_documents({}) == 3)
    assert {event["_id"]: event["x"] for event in stack.events.find()} == {"a": 1, "b": 2, "c": 4}


async def test_a_cloudevent_is_stored_once_in_whatever_mode_it_comes(stack: Stack, publisher: Client) -> None:
    stack.api_stub()
    binary = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/shop", "ce-type": "x"}
    envelope = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "x", "data": json.loads(at(1))}
    structured = {"Content-Type": "application/cloudevents+json; charset=UTF-8"}
    for headers, body in (
        *((binary, at(1)), (binary, at(1)), (structured, json.dumps(envelope).encode())),
        (binary | {"ce-source": "/other"}, at(1)),
    ):
        await publisher.publish("crypto.updates", body, headers=headers)
    # Two batches may be stored at once, and then the later event of an id may be the first.
    assert await soon(lambda: stack.sum() == 2)
    for headers, body in ((binary, at(2)), ({"Content-Type": "application/cloudevents+avro"}, at(1))):
        await publisher.publish("crypto.updates", body, headers=headers)
    assert await soon(lambda: stack.sum() == 4)
    assert {event["_id"] for event in stack.events.find()} == {"ce:/shop#7", "ce:/other#7"}
    assert {letter["reason"][:40] for letter in stack.dead_letters.find()} == {
        "another event is stored as ce:/shop#7",
        "Content-Type: 'application/cloudevents+avro'"[:40],
    }


async def test_an_id_that_is_stored_can_be_fetched_and_a_longer_one_is_kept_as_a_dead_letter(
    stack: Stack, publisher: Client
) -> None:
    port = ports.free()
    stub = stack.api_stub(HTTP_PORT=str(port))
    longest = "é" * (MAX_ID_BYTES // 2)
    for identity in (longest, longest + "x", "x" * 8186):
        await publish_raw(stack.nats, f"Nats-Msg-Id: {identity}".encode(), at(0))
    assert await soon(lambda: stack.sum() == 3)
    assert get(port, f"/events/{urllib.parse.quote(longest)}")["_id"] == longest
    await publisher.publish("crypto.updates", at(1))
    assert await soon(lambda: stack.sum() == 4)
    page = get(port, "/events?limit=1&until=2023-11-21T14:30:01Z&since=20231121T1430Z")
    assert page["events"][0]["_id"] == longest
    newest = get(port, "/events?limit=1")
    assert get(port, f"/events?limit=1&cursor={newest['next']}")["events"][0]["_id"] == longest
    letters = list(stack.dead_letters.find(sort=[("stream_seq", 1)]))
    assert [letter["headers"]["Nats-Msg-Id"] for letter in letters] == [longest + "x", "x" * 8186]
    assert [letter["raw"] for letter in letters] == [at(0), at(0)]
    assert letters[0]["reason"].startswith(f"id: {MAX_ID_BYTES + 1} bytes, more than {MAX_ID_BYTES}: 'é")
    assert max(map(len, stub.lines)) < 400
