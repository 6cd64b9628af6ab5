"""`crypto-updates verify`, against stacks that are well and stacks that are not."""

import asyncio
import contextlib
import re
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from pymongo import MongoClient
from pymongo.collection import Collection

from api_stub.http import schema
from crypto_updates.bus.event import SUBJECT, identity, text
from crypto_updates.bus.stream import DAY, DURABLE, PROBE, STREAM
from crypto_updates.harness.link import Link
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from stack.check import checks, verify
from stack.check.checks import Check
from stack.check.target import CheckSettings, Stack
from tests.e2e.conftest import STEADY, Standalone
from tests.support import HANG_SECONDS, connect, eventually, settled, soon

# A slot counts as missing 7 s later. With a slot a second it is 2.5 s, in which the machine may stand still.
SCHEDULE = "*/10 * * * * *"
EVENT_INDEXES = ("timestamp_-1__id_-1", "data.coin_1_timestamp_-1__id_-1")
CHECKS = [check.name for check in checks.CHECKS]


class Report:
    """The output and the exit status of a verification."""

    def __init__(self, process: Process) -> None:
        self.status = process.wait()
        self.output = "\n".join(process.lines)
        rows = (re.match(r"([✓✗+x-]) (.{18}) (.*)", line) for line in process.lines)
        self._checks = {row[2].rstrip(): (row[1], row[3]) for row in rows if row}

    def marked(self, mark: str) -> list[str]:
        return [name for name, (given, _) in self._checks.items() if given == mark]

    def text(self, name: str) -> str:
        return self._checks[name][1]


@dataclass
class Running:
    """A stack with a NATS server and a database of its own."""

    nats: NatsServer
    events: Collection[dict[str, Any]]
    environ: dict[str, str]
    service: Service

    def start(self, name: str, *arguments: str, **environ: str) -> Process:
        return self.service(name, *arguments, **self.environ | environ)

    def verify(self, **environ: str) -> Report:
        return Report(self.start("stack", "verify", **environ))

    def ask(self, question: Callable[[JetStreamContext], Awaitable[Any]]) -> Any:  # noqa: ANN401 - whatever it answers
        async def answer() -> Any:  # noqa: ANN401 - the same
            connection = await connect(self.nats.url)
            try:
                return await question(connection.jetstream())
            finally:
                await connection.close()

        return asyncio.run(answer())

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        answer = httpx.get(f"{self.environ['API_URL']}{path}", trust_env=False, timeout=HANG_SECONDS)
        return answer.status_code, answer.json()

    def probes(self) -> list[object]:
        """All probes in MongoDB and in the stream."""
        return [*self.events.find({"source": "verify"}), *self.ask(_probes)]


async def _probes(js: JetStreamContext) -> list[bytes]:
    state = (await js.stream_info(STREAM)).state
    bodies = []
    for seq in range(max(state.first_seq, 1), state.last_seq + 1):
        with contextlib.suppress(NotFoundError):
            bodies.append((await js.get_msg(STREAM, seq)).data or b"")
    return [body for body in bodies if b'"source":"verify"' in body]


@pytest.fixture
def events(mongod: Mongod) -> Iterator[Collection[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongod.url, tz_aware=True, directConnection=True) as client:
        database = client[f"verify-{secrets.token_hex(4)}"]
        yield database.events
        client.drop_database(database)


@pytest.fixture
def server() -> Iterator[NatsServer]:
    with NatsServer() as server:
        yield server


@pytest.fixture
def bare(server: NatsServer, events: Collection[dict[str, Any]], mongo_url: str, service: Service) -> Running:
    """The servers alone. The services come last here, so that at the end they are stopped first."""
    port = str(ports.free())
    environ = {"NATS_URL": server.url, "MONGO_URL": mongo_url, "MONGO_DB": events.database.name}
    environ |= {"HTTP_PORT": port, "API_URL": f"http://127.0.0.1:{port}", "HEALTH_PORT": str(ports.free())}
    return Running(server, events, environ | {"MARKET_SOURCE": "simulated", "SCHEDULE": SCHEDULE}, service)


@pytest.fixture
def stack(bare: Running) -> Running:
    """Provisioned, and without services."""
    assert bare.start("stack", "provision").wait() == 0
    return bare


@pytest.fixture
def api_stub(stack: Running) -> Process:
    process = stack.start("api_stub")
    process.wait_for_line("[NATS] Connected")
    return process


@pytest.fixture
def worker(api_stub: Process, stack: Running) -> Process:
    process = stack.start("worker", **STEADY)
    api_stub.wait_for_line("[EVENT] Stored crypto@")
    return process


@pytest.mark.usefixtures("worker")
def test_all_checks_hold_on_a_healthy_stack_and_no_probe_is_left(stack: Running, api_stub: Process) -> None:
    report = stack.verify()
    assert (report.status, report.marked("✓")) == (0, CHECKS)
    assert eventually(lambda: sum("[EVENT] Stored verify@" in line for line in api_stub.lines) == 2)
    assert stack.probes() == []
    assert f"own connection to {stack.nats.url} cut: back after" in report.text("Reconnection")


@pytest.mark.parametrize("delivery", ["jetstream", "core"])
async def test_a_server_of_ones_own_hears_nothing_of_it(bare: Running, delivery: str) -> None:
    heard: list[str] = []

    async def hear(message: Msg) -> None:
        heard.append(message.subject)

    with NatsServer(jetstream=delivery == "jetstream") as server:
        bare.environ |= {"NATS_URL": server.url, "DELIVERY": delivery, "SCHEDULE": "0 0 1 1 *"}
        api_stub = bare.start("api_stub")
        api_stub.wait_for_line("[NATS] Connected")
        assert bare.start("worker", "--once").wait() == 0
        api_stub.wait_for_line("[EVENT] Stored crypto@")
        client = await connect(server.url)
        subjects = [SUBJECT, "crypto.*", "crypto.>"]
        for subject in subjects:
            await client.subscribe(subject, cb=hear)
        if delivery == "jetstream":
            subjects.append("in the stream")
            config = ConsumerConfig(deliver_policy=DeliverPolicy.NEW)
            await client.jetstream().subscribe(SUBJECT, cb=hear, config=config, ordered_consumer=True)
        await settled(client)
        report = await asyncio.to_thread(bare.verify)
        assert (report.status, report.marked("✓")) == (0, CHECKS)
        assert list(bare.events.find({"source": "verify"})) == []
        await client.publish(SUBJECT, b"an event of one's own")
        assert await soon(lambda: len(heard) == len(subjects))
        await client.close()
    assert heard == [SUBJECT] * len(subjects)


def test_it_says_what_a_stream_without_the_probe_s_subject_needs(bare: Running) -> None:
    config = StreamConfig(STREAM, subjects=["crypto.*"], discard=DiscardPolicy.NEW)
    bare.ask(lambda js: js.add_stream(config, duplicate_window=DAY))
    bare.start("api_stub").wait_for_line("[NATS] Connected")
    report = bare.verify()
    lack = f"stream {STREAM} does not take {PROBE}"
    assert (report.text("JetStream"), report.text("Event delivery")) == (lack, f"skipped: {lack}")
    assert "run `crypto-updates provision`" in report.output
    assert bare.start("stack", "provision").wait() == 0
    assert {"JetStream", "Event delivery", "Reconnection"} <= set(bare.verify().marked("✓"))


@pytest.mark.usefixtures("worker")
def test_its_marks_are_plain_where_the_output_knows_no_others(stack: Running) -> None:
    report = stack.verify(PYTHONIOENCODING="ascii")
    assert (report.status, report.marked("+")) == (0, CHECKS)


def test_it_crosses_the_schedule_when_the_worker_has_stopped(stack: Running, worker: Process) -> None:
    worker.stop()
    assert eventually(lambda: "Schedule kept" in stack.verify().marked("✗"))
    report = stack.verify()
    assert (report.status, report.marked("✗")) == (1, ["Schedule kept", "No slot missing"])
    assert "was due" in report.text("Schedule kept")


@pytest.mark.usefixtures("api_stub")
def test_it_says_when_the_first_event_is_to_come(stack: Running) -> None:
    report = stack.verify(SCHEDULE="0 0 1 1 *", FEED="other")
    assert (report.status, report.marked("✗")) == (1, ["Schedule kept"])
    assert re.search(r"no event of feed other is stored; the next slot is 2\d{3}-01-01T00:00:00Z", report.output)
    assert report.text("No slot missing") == "skipped: no event of feed other is stored"


@pytest.mark.usefixtures("worker")
def test_it_names_the_slot_of_a_deleted_document(stack: Running) -> None:
    assert eventually(lambda: stack.events.count_documents({}) >= 3)
    _, gone = stack.events.find(sort=[("timestamp", 1)], limit=2)
    stack.events.delete_one({"_id": gone["_id"]})
    assert eventually(lambda: datetime.now(UTC) - gone["timestamp"] > timedelta(seconds=8))
    report = stack.verify()
    assert (report.status, report.marked("✗")) == (1, ["No slot missing"])
    assert re.match(rf"1 of \d+ slots since \S+: {text(gone['timestamp'])}$", report.text("No slot missing"))


def test_it_counts_the_slots_of_a_day_and_not_documents(stack: Running) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    slots = [now - timedelta(hours=hours) for hours in range(27)]
    missing = [slots[25], slots[20], slots[12], slots[7], slots[5]]
    ids = [(identity("parts", slot, part), slot) for slot in slots if slot not in missing for part in (1, 2)]
    ids += [(identity(feed, slots[5]), slots[5]) for feed in ("part", "parts-2", "partsA")]
    stack.events.insert_many([{"_id": key, "timestamp": slot} for key, slot in ids])
    found = stack.verify(FEED="parts", SCHEDULE="@hourly").text("No slot missing")
    named = ", ".join(text(slot) for slot in missing[1:4])
    # In the first minutes of an hour, the newest slot does not count yet.
    assert re.fullmatch(rf"4 of 2[34] slots since \S+: {named} and 1 more", found)


def test_it_crosses_the_delivery_when_the_api_stub_has_stopped(stack: Running, api_stub: Process) -> None:
    api_stub.stop()
    report = stack.verify()
    assert (report.status, report.marked("✗")) == (1, ["Event delivery", "Schedule kept", "HTTP API"])
    assert report.text("Reconnection") == "skipped: no event arrives in MongoDB"
    assert stack.probes() == []
    again = stack.start("api_stub")
    stack.start("worker", "--once").wait_for_line("[PUBLISH] Sent")
    again.wait_for_line("[EVENT] Stored crypto@")
    assert stack.probes() == []


@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_it_leaves_no_probe_when_it_is_stopped_halfway(stack: Running, sig: signal.Signals) -> None:
    process = stack.start("stack", "verify")
    assert eventually(lambda: stack.probes() != [])
    process.kill(sig)
    assert process.wait() == 1
    assert stack.probes() == []


def test_it_leaves_no_probe_when_it_is_stopped_before_the_stream_has_answered(stack: Running) -> None:
    with Link(stack.nats.port) as link, link.slow(0.3):
        process = stack.start("stack", "verify", NATS_URL=f"nats://127.0.0.1:{link.port}")
        assert eventually(lambda: stack.probes() != [], 30)
        process.kill(signal.SIGTERM)
        assert process.wait() == 1
    assert stack.probes() == []


@pytest.mark.usefixtures("api_stub")
def test_it_removes_what_a_killed_verification_has_left(stack: Running) -> None:
    now = datetime.now(UTC)
    ages = [("verify", now - timedelta(minutes=5)), ("verify", now), ("coingecko", now - timedelta(minutes=5))]
    documents = [
        {"_id": identity("verify", at, n), "source": name, "timestamp": at} for n, (name, at) in enumerate(ages)
    ]
    stack.events.insert_many(documents)
    stack.verify()
    assert {document["_id"] for document in stack.events.find()} == {document["_id"] for document in documents[1:]}


@pytest.mark.usefixtures("worker")
def test_it_skips_what_needs_nats_when_nats_is_down(stack: Running) -> None:
    report = stack.verify(NATS_URL=f"nats://someone:s3cret@127.0.0.1:{ports.free()}")
    assert (report.status, report.marked("✗")) == (1, ["NATS connection"])
    assert report.marked("-") == ["JetStream", "Event delivery", "Reconnection"]
    assert "CONNECTION_REFUSED nats://***@127.0.0.1" in report.text("NATS connection")
    assert "verify that the NATS server is running" in report.output
    assert "s3cret" not in report.output


@pytest.mark.usefixtures("worker")
def test_it_skips_what_needs_mongodb_when_mongodb_is_down(stack: Running) -> None:
    report = stack.verify(MONGO_URL=f"mongodb://someone:s3cret@127.0.0.1:{ports.free()}")
    assert (report.status, report.marked("✗")) == (1, ["MongoDB connection"])
    assert report.marked("-") == ["Event delivery", "Schedule kept", "No slot missing", "Reconnection"]
    assert "s3cret" not in report.output
    assert stack.probes() == []


def test_it_ends_in_time_when_the_servers_are_frozen(bare: Running) -> None:
    with Mongod() as mongod:
        bare.environ["MONGO_URL"] = mongod.url
        api_stub = bare.start("api_stub")
        api_stub.wait_for_line("[NATS] Connected")
        begin = time.monotonic()
        bare.nats.kill(signal.SIGSTOP)
        mongod.kill(signal.SIGSTOP)
        report = bare.verify()
        assert time.monotonic() - begin < 30
        assert report.marked("✗") == ["NATS connection", "MongoDB connection", "HTTP API"]
        assert re.search(r"answers 503: (NATS|TIMEOUT nats://\S+: verify) .*; MongoDB: ", report.text("HTTP API"))
        api_stub.kill()


def test_a_mongodb_that_is_no_replica_set_is_named_by_all(bare: Running, standalone: Standalone) -> None:
    bare.environ["MONGO_URL"] = standalone.url
    provision = bare.start("stack", "provision")
    assert provision.wait() == 0
    assert "start mongod with --replSet" in provision.wait_for_line("MongoDB is not a replica set")
    bare.start("api_stub").wait_for_line("[NATS] Connected")
    report = bare.verify()
    assert report.marked("✗") == ["MongoDB connection", "Schedule kept"]
    assert "not a replica set" in report.text("MongoDB connection")
    assert "start mongod with --replSet, and run `crypto-updates provision`" in report.output

    def answer() -> dict[str, Any]:
        """What /readyz says, once it is ready, with one warning."""
        status, ready = bare.get("/readyz")
        return ready if (status, len(ready.get("warnings", ()))) == (200, 1) else {}

    ready = eventually(answer)
    assert "not a replica set" in ready["warnings"][0]
    assert set(ready) == set(schema.Ready.model_fields)
    assert bare.get("/state")[1]["mongo"]["reason"] == ready["warnings"][0]


def test_a_mongodb_that_takes_no_writes_is_not_ready(bare: Running) -> None:
    with Mongod() as mongod, MongoClient[dict[str, Any]](mongod.url, directConnection=True) as client:
        bare.environ["MONGO_URL"] = mongod.url
        bare.start("api_stub").wait_for_line("[NATS] Connected")
        assert eventually(lambda: bare.get("/readyz") == (200, {"status": "ready"}))
        client.admin.command("replSetStepDown", 120, force=True)

        def is_refused() -> bool:
            status, answer = bare.get("/readyz")
            return status == 503 and "takes no writes" in answer["reasons"][0]

        assert eventually(is_refused)
        assert eventually(lambda: "takes no writes" in str(bare.get("/state")[1]["mongo"]["reason"]))
        assert "takes no writes" in bare.verify().text("MongoDB connection")


def test_the_api_stub_makes_the_indexes_where_nobody_ran_provision(bare: Running) -> None:
    bare.start("api_stub").wait_for_line("[NATS] Connected")
    assert eventually(lambda: set(bare.events.index_information()) == {"_id_", *EVENT_INDEXES})
    assert eventually(lambda: bare.get("/readyz") == (200, {"status": "ready"}))
    bare.events.drop_index(EVENT_INDEXES[0])
    assert eventually(lambda: "events on timestamp, _id" in str(bare.get("/readyz")[1].get("warnings")))
    assert "lacks the index of events on timestamp, _id" in bare.verify().text("MongoDB connection")


@pytest.mark.parametrize("options", [{"partialFilterExpression": {"source": "x"}}, {"sparse": True}, {"hidden": True}])
def test_an_index_that_does_not_serve_every_query_is_named(bare: Running, options: dict[str, Any]) -> None:
    bare.events.create_index([("timestamp", -1), ("_id", -1)], **options)
    bare.start("api_stub").wait_for_line("[NATS] Connected")
    assert eventually(lambda: "events on timestamp, _id" in str(bare.get("/state")[1]["mongo"]["reason"]))
    report = bare.verify()
    assert "lacks the index of events on timestamp, _id" in report.text("MongoDB connection")
    assert "run `crypto-updates provision`" in report.output


def test_a_server_without_jetstream_is_named_by_readyz_unless_it_is_wanted(bare: Running) -> None:
    with NatsServer(jetstream=False) as server:
        bare.environ["NATS_URL"] = server.url
        process = bare.start("api_stub")
        process.wait_for_line("[NATS] Connected")
        assert eventually(lambda: "has no JetStream" in str(bare.get("/readyz")[1].get("warnings")))
        process.stop()
        bare.start("api_stub", DELIVERY="core").wait_for_line("[NATS] Connected")
        assert eventually(lambda: bare.get("/readyz") == (200, {"status": "ready"}))


def test_it_makes_no_stream_where_there_is_none(bare: Running) -> None:
    report = bare.verify()
    assert report.text("JetStream") == "there is no stream CRYPTO"
    assert report.text("Event delivery") == "skipped: there is no stream CRYPTO"
    assert bare.ask(lambda js: js.streams_info()) == []


def test_it_crosses_jetstream_when_the_consumer_is_missing(stack: Running) -> None:
    stack.ask(lambda js: js.delete_consumer(STREAM, DURABLE))
    report = stack.verify()
    assert "JetStream" in report.marked("✗")
    assert report.text("JetStream") == "there is no consumer api_stub"
    assert report.text("Event delivery") == "skipped: there is no consumer api_stub"
    assert "run `crypto-updates provision`" in report.output


def test_it_names_the_settings_that_differ(bare: Running) -> None:
    window = 3600.0
    config = StreamConfig(STREAM, subjects=[SUBJECT, PROBE], storage=StorageType.MEMORY, discard=DiscardPolicy.OLD)
    bare.ask(lambda js: js.add_stream(config, duplicate_window=window))
    bare.ask(lambda js: js.add_consumer(STREAM, ConsumerConfig(DURABLE, ack_policy=AckPolicy.ALL, max_deliver=5)))
    assert bare.verify(STREAM_REPLICAS="3").text("JetStream") == (
        "storage is memory and not file, discard is old and not new, ack_policy is all and not explicit,"
        " max_deliver is 5 and not -1, stream CRYPTO has 1 of 3 copies, duplicate_window is 3600 s and not 86400 s or"
        " more"
    )


def test_without_jetstream_it_takes_delivery_core_for_consent(bare: Running) -> None:
    with NatsServer(jetstream=False) as server:
        bare.environ["NATS_URL"] = server.url
        assert "has no JetStream" in bare.verify().text("JetStream")
        bare.environ["DELIVERY"] = "core"
        bare.start("api_stub").wait_for_line("[NATS] Connected")
        report = bare.verify()
        assert report.text("JetStream") == "not used with DELIVERY=core"
        assert report.marked("✗") == ["Schedule kept"]


def test_a_mistyped_api_prefix_is_not_taken_for_a_server_without_jetstream(bare: Running) -> None:
    report = bare.verify(NATS_API_PREFIX="WRONG.API")
    assert report.text("JetStream") == "nobody answers at WRONG.API"
    assert "verify NATS_API_PREFIX and the rights of the account" in report.output


def test_it_tells_of_a_login_that_is_refused(bare: Running) -> None:
    with NatsServer(config="authorization { user: someone, password: s3cret }") as server:
        report = bare.verify(NATS_URL=server.url, NATS_USER="someone", NATS_PASSWORD=secrets.token_hex())
        assert report.text("NATS connection") == f"AUTHORIZATION_VIOLATION {server.url}"


def test_it_says_what_it_may_not_ask_and_not_remove(bare: Running) -> None:
    rights = f'{{publish: {{allow: ["{PROBE}"]}}, subscribe: {{allow: ["_INBOX.>"]}}}}'
    users = f"{{user: admin, password: a}}, {{user: publisher, password: p, permissions: {rights}}}"
    with NatsServer(config=f"accounts {{ A {{ jetstream: enabled, users: [{users}] }} }}") as server:
        bare.environ |= {"NATS_URL": server.url, "NATS_USER": "admin", "NATS_PASSWORD": "a"}
        assert bare.start("stack", "provision").wait() == 0
        own = {"NATS_USER": "publisher", "NATS_PASSWORD": "p"}
        stopped = bare.start("stack", "verify", **own)
        url = f"{server.monitor_url}/jsz"
        assert eventually(lambda: httpx.get(url, trust_env=False, timeout=HANG_SECONDS).json()["messages"] == 1)
        stopped.kill(signal.SIGTERM)
        assert stopped.wait() == 1
        assert [line.startswith("Left behind: verify@") for line in list(stopped.lines)[-2:]] == [True, False]
        bare.start("api_stub").wait_for_line("[NATS] Connected")
        report = bare.verify(**own)
    assert report.marked("✗") == ["JetStream", "Schedule kept"]
    assert len(re.findall(r"Left behind: verify@\S+ in the stream CRYPTO, sequence \d+: no answer", report.output)) == 2


def test_a_bad_configuration_is_told_as_the_services_tell_it(bare: Running) -> None:
    report = bare.verify(SCHEDULE="nonsense", MONGO_URL="http://x", API_URL="localhost:8080", FEED="a b")
    named = [line.partition("=")[0] for line in report.output.splitlines()]
    assert (report.status, sorted(named)) == (2, ["API_URL", "FEED", "MONGO_URL", "SCHEDULE"])


async def test_a_stop_that_a_check_forgets_ends_the_verification() -> None:
    async def forgetful(_: Stack) -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "found"

    stack = Stack(CheckSettings.load({}), AsyncExitStack())
    task = asyncio.ensure_future(verify._run_one(Check("forgetful", 5, forgetful), stack, 5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
