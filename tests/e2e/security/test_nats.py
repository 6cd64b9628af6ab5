"""What no user of NATS may do, tried by each: refused with the stack's configuration, and possible without it."""

import asyncio
import json
import time

import pytest
from nats.aio.client import Client
from nats.errors import Error
from nats.js import JetStreamContext

from crypto_updates.bus import trace
from crypto_updates.bus.client import Bus
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import Connection
from crypto_updates.bus.consumer import Consumer
from crypto_updates.bus.stream import PROBE
from tests.e2e.security.conftest import ACK_V2, ANONYMOUS, USERS, Bastion
from tests.support import HANG_SECONDS, drained, settled, soon

pytestmark = pytest.mark.timeout(120)

API, IMPORTED = "$JS.API", "STORE.API"
# Requests to JetStream's API, each in both of its places.
REQUESTS = {
    "INFO": b"",
    "STREAM.NAMES": b"",
    "STREAM.LIST": b"",
    "STREAM.INFO.CRYPTO": b"",
    "STREAM.CREATE.OTHER": b'{"name":"OTHER","subjects":["other"],"storage":"file"}',
    "STREAM.UPDATE.CRYPTO": b'{"name":"CRYPTO","subjects":["crypto.updates"],"storage":"file","max_msgs":1}',
    "STREAM.PURGE.CRYPTO": b"",
    "STREAM.DELETE.CRYPTO": b"",
    "STREAM.MSG.GET.CRYPTO": b'{"last_by_subj":"crypto.updates"}',
    "STREAM.MSG.DELETE.CRYPTO": b'{"seq":1}',
    "STREAM.SNAPSHOT.CRYPTO": b'{"deliver_subject":"_INBOX_x"}',
    "STREAM.RESTORE.OTHER": b'{"config":{"name":"OTHER","subjects":["o"],"storage":"file"},"state":{}}',
    "DIRECT.GET.CRYPTO": b'{"last_by_subj":"crypto.updates"}',
    "DIRECT.GET.CRYPTO.crypto.updates": b"",
    "CONSUMER.NAMES.CRYPTO": b"",
    "CONSUMER.LIST.CRYPTO": b"",
    "CONSUMER.INFO.CRYPTO.api_stub": b"",
    "CONSUMER.CREATE.CRYPTO": b'{"stream_name":"CRYPTO","config":{"ack_policy":"none"}}',
    "CONSUMER.CREATE.CRYPTO.spy": b'{"stream_name":"CRYPTO","config":{"name":"spy","ack_policy":"none"}}',
    "CONSUMER.DURABLE.CREATE.CRYPTO.spy": (
        b'{"stream_name":"CRYPTO","config":{"durable_name":"spy","ack_policy":"none"}}'
    ),
    "CONSUMER.MSG.NEXT.CRYPTO.api_stub": b'{"batch":1,"no_wait":true}',
    "CONSUMER.PAUSE.CRYPTO.api_stub": b'{"pause_until":"2099-01-01T00:00:00Z"}',
    "CONSUMER.DELETE.CRYPTO.api_stub": b"",
    "CONSUMER.INFO.CRYPTO.consumer": b"",
    "CONSUMER.DURABLE.CREATE.CRYPTO.consumer": (
        b'{"stream_name":"CRYPTO","config":{"durable_name":"consumer","ack_policy":"explicit","max_ack_pending":1}}'
    ),
    "CONSUMER.MSG.NEXT.CRYPTO.consumer": b'{"batch":1,"no_wait":true}',
    "CONSUMER.DELETE.CRYPTO.consumer": b"",
}
OTHERS = {"$SYS.REQ.SERVER.PING": b"", "$SYS.REQ.SERVER.PING.VARZ": b"", "$SYS.REQ.ACCOUNT.PING.CONNZ": b""}
SUBJECTS = (">", "crypto.>", "crypto.updates", "crypto.update", PROBE, "*.*", "_INBOX.>", "_INBOX_provision.>", "_R_.>")
SUBJECTS += ("$JS.>", "$SYS.>")
# What each may do of these.
ALLOWED = {
    "worker": {f"{IMPORTED}.STREAM.INFO.CRYPTO", f"{IMPORTED}.STREAM.MSG.GET.CRYPTO"},
    "api_stub": {
        f"{IMPORTED}.STREAM.INFO.CRYPTO",
        f"{IMPORTED}.CONSUMER.INFO.CRYPTO.api_stub",
        f"{IMPORTED}.CONSUMER.MSG.NEXT.CRYPTO.api_stub",
    },
    "subscriber": {"crypto.updates", "crypto.update"},
    "anonymous": {"crypto.updates", "crypto.update"},
    "consumer": {f"{IMPORTED}.CONSUMER.INFO.CRYPTO.consumer", f"{IMPORTED}.CONSUMER.MSG.NEXT.CRYPTO.consumer"},
    "operator": {
        f"{API}.STREAM.INFO.CRYPTO",
        f"{API}.STREAM.MSG.GET.CRYPTO",
        f"{API}.STREAM.MSG.DELETE.CRYPTO",
        f"{API}.CONSUMER.INFO.CRYPTO.api_stub",
        "crypto.updates",
    },
}
# Who may publish where.
PUBLISHERS = {"crypto.updates": {"worker", "operator"}, "crypto.claims": {"worker"}, PROBE: {"operator"}}
# What a user sends with a subject as its reply, for the server's answer to be taken for a command there.
CARRIERS = {
    "worker": (
        "crypto.updates",
        "crypto.claims",
        f"{IMPORTED}.STREAM.MSG.GET.CRYPTO",
        f"{IMPORTED}.STREAM.INFO.CRYPTO",
    ),
    "api_stub": (
        f"{IMPORTED}.CONSUMER.MSG.NEXT.CRYPTO.api_stub",
        f"{API}.CONSUMER.MSG.NEXT.CRYPTO.api_stub",
        f"{IMPORTED}.CONSUMER.INFO.CRYPTO.api_stub",
        "$JS.ACK.CRYPTO.api_stub.1.1.1.1700000000000000000.0",
        # The second form; the token before the stream is the server's hash of the account STORE.
        "$JS.ACK._.RzP7xOx1.CRYPTO.api_stub.1.1.1.1700000000000000000.0",
    ),
    "subscriber": ("crypto.updates",),
    "consumer": (
        f"{IMPORTED}.CONSUMER.MSG.NEXT.CRYPTO.consumer",
        f"{IMPORTED}.CONSUMER.INFO.CRYPTO.consumer",
        "$JS.ACK.CRYPTO.consumer.1.1.1.1700000000000000000.0",
        "$JS.ACK._.RzP7xOx1.CRYPTO.consumer.1.1.1.1700000000000000000.0",
    ),
}
COMMANDS = (f"{API}.STREAM.DELETE.CRYPTO", f"{API}.STREAM.PURGE.CRYPTO", "crypto.updates")


def is_success(answer: bytes, status: str | None) -> bool:
    """True if the server gave something away, be it that there is no more."""
    return status is None and b'"error"' not in answer


async def ask(bastion: Bastion, user: str, client: Client, subject: str, body: bytes) -> bool:
    """True if the request had an answer in time that is no refusal."""
    inbox = await client.subscribe(client.new_inbox())
    await client.publish(subject, body, reply=inbox.subject)
    await settled(client)
    if bastion.refused(user, subject):
        return False
    try:
        answer = await inbox.next_msg(bastion.patience)
    except Error:
        return False
    finally:
        await inbox.unsubscribe()
    return is_success(answer.data, (answer.headers or {}).get("Status"))


async def hears(client: Client, admin: Client, subject: str) -> bool:
    """True if a subscription there gets what others say."""
    subscription = await client.subscribe(subject)
    await settled(client)
    inboxes = ("_INBOX.secret", "_INBOX_provision.secret", "_R_.secret")
    for heard in ("crypto.updates", "crypto.update", PROBE, *inboxes, "$JS.EVENT.ADVISORY.x"):
        await admin.publish(heard, b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z"}')
    await settled(admin)
    await settled(client)
    heard_any = subscription.pending_msgs > 0
    await subscription.unsubscribe()
    return heard_any


async def state(js: JetStreamContext) -> str:
    """All that an attack could change, as text."""
    streams = [
        [info.config.as_dict(), info.state.messages, info.state.last_seq, info.state.num_deleted]
        for info in await js.streams_info()
    ]
    consumers = [
        [info.config.as_dict(), str(info.ack_floor)]
        for name in [stream[0]["name"] for stream in streams]
        for info in await js.consumers_info(name)
    ]
    return json.dumps([streams, consumers], default=str, sort_keys=True)


async def changes(js: JetStreamContext, before: str, within: float) -> bool:
    """True if the state becomes another one. The server stores an event a moment after it has read it."""
    deadline = time.monotonic() + within
    while await state(js) == before:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def stored(js: JetStreamContext, seq: int) -> None:
    """Return when the stream has stored the event with this sequence."""
    async with asyncio.timeout(HANG_SECONDS):
        while True:
            if (await js.stream_info("CRYPTO")).state.last_seq >= seq:
                return
            await asyncio.sleep(0.02)


async def holes(bastion: Bastion, user: str) -> set[str]:
    """What the user could do that is not its part."""
    admin = await bastion.client("provision")
    client, js, found = await bastion.client(user), admin.jetstream(), set()
    subjects = {f"{place}.{name}": body for place in (API, IMPORTED) for name, body in REQUESTS.items()}
    for subject, body in (subjects | OTHERS).items():
        await bastion.restore(admin)
        before = await state(js)
        answered = await ask(bastion, user, client, subject, body)
        if subject not in ALLOWED[user] and (answered or await state(js) != before):
            found.add(subject)
    for subject in SUBJECTS:
        if await hears(client, admin, subject) and subject not in ALLOWED[user]:
            found.add(f"subscribe {subject}")
    for subject, publishers in PUBLISHERS.items():
        await bastion.restore(admin)
        before = await state(js)
        await client.publish(subject, b"forged")
        await settled(client)
        if user in publishers:  # an event that is stored later would count against the next subject
            assert await changes(js, before, HANG_SECONDS)
        elif await changes(js, before, bastion.patience):
            found.add(f"publish {subject}")
    return found


async def injections(bastion: Bastion, user: str) -> set[str]:
    """The commands that the user could have the server itself send."""
    admin = await bastion.client("provision")
    client, js, found = await bastion.client(user), admin.jetstream(), set()
    for carrier in CARRIERS[user]:
        # Whoever may publish there has no need of a detour.
        for command in [command for command in COMMANDS if user not in PUBLISHERS.get(command, ())]:
            for body in (b'{"batch":1,"no_wait":true}', b'{"seq":1}', b"+ACK", b"+NXT", b'{"event":"CRYPTO_UPDATE"}'):
                await bastion.restore(admin)
                before = (await js.stream_info("CRYPTO")).state
                await client.publish(carrier, body, reply=command)
                await settled(client)
                grown = int(carrier == "crypto.updates" and user in PUBLISHERS[carrier])
                try:
                    await stored(js, before.last_seq + grown)
                    await asyncio.sleep(0.02)
                    after = (await js.stream_info("CRYPTO")).state
                except Error:
                    found.add(f"{carrier} {command}")
                    continue
                if (after.messages, after.last_seq) != (before.messages + grown, before.last_seq + grown):
                    found.add(f"{carrier} {command}")
    return found


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("bastion", ["confined", ACK_V2], indirect=True)
async def test_a_user_can_do_nothing_but_its_part(bastion: Bastion, user: str) -> None:
    assert await holes(bastion, user) == set()
    assert any("permissions violation" in told for told in bastion.refusals[user])


@pytest.mark.parametrize("bastion", ["without limits"], indirect=True)
async def test_without_the_configuration_the_same_attempts_find_the_holes(bastion: Bastion) -> None:
    found = await holes(bastion, "api_stub")
    assert found >= {f"{API}.{name}" for name in REQUESTS if not name.startswith("STREAM.RESTORE")} | {
        f"subscribe {subject}" for subject in SUBJECTS if subject != "$SYS.>"
    }
    assert found >= {f"publish {subject}" for subject in PUBLISHERS}


@pytest.mark.parametrize(("bastion", "tokens"), [("confined", 9), (ACK_V2, 11)], indirect=["bastion"])
async def test_the_api_stub_acknowledges_in_each_form_of_the_ack_subject(bastion: Bastion, tokens: int) -> None:
    admin = await bastion.client("provision")
    await bastion.restore(admin)
    own = {"NATS_USER": "api_stub", "NATS_PASSWORD": bastion.password("api_stub")}
    own |= {"NATS_API_PREFIX": IMPORTED, "NATS_INBOX_PREFIX": "_INBOX_api_stub"}
    settings = BusSettings.load({"NATS_URL": bastion.server.url, **own})
    async with Bus(settings, "test") as bus, Consumer(bus, 10, lambda: None) as consumer:
        taken = []
        while len(taken) < 3:
            taken += await asyncio.wait_for(consumer.take(), 10)
        assert [(delivery.seq, delivery.times, delivery.message.reply.count(".") + 1) for delivery in taken] == [
            (seq, 1, tokens) for seq in (1, 2, 3)
        ]
        assert len({delivery.place for delivery in taken}) == 3
        for delivery in taken:
            await delivery.ack()
        info = await drained(admin.jetstream(), "api_stub")
    assert info.ack_floor
    assert info.ack_floor.stream_seq == 3


@pytest.mark.parametrize("user", list(CARRIERS))
@pytest.mark.parametrize("bastion", ["confined", ACK_V2], indirect=True)
async def test_no_answer_of_the_server_becomes_a_command(bastion: Bastion, user: str) -> None:
    assert await injections(bastion, user) == set()


@pytest.mark.parametrize("bastion", ["without limits"], indirect=True)
async def test_in_one_account_answers_of_the_server_do_become_commands(bastion: Bastion) -> None:
    found = await injections(bastion, "api_stub") | await injections(bastion, "worker")
    following = f"{API}.CONSUMER.MSG.NEXT.CRYPTO.api_stub"
    assert found >= {f"{following} crypto.updates", f"{following} {API}.STREAM.PURGE.CRYPTO"}


@pytest.mark.parametrize("bastion", ["confined"], indirect=True)
@pytest.mark.parametrize(
    ("user", "password"),
    [("", ""), ("worker", "worker"), ("provision", ""), ("sys", "sys"), ("admin", "admin"), ("worker", "$2a$11$")],
)
async def test_nobody_enters_without_a_credential(bastion: Bastion, user: str, password: str) -> None:
    settings = BusSettings.load({"NATS_USER": user, "NATS_PASSWORD": password})
    connection = Connection(bastion.server.url)
    with pytest.raises(Error, match=r"(?i)authorization"):
        await connection.open(settings, "test")
    await connection.close()


@pytest.mark.parametrize(
    ("bastion", "user"), [("confined", "subscriber"), (ANONYMOUS, "anonymous")], indirect=["bastion"]
)
async def test_a_subscriber_of_ones_own_gets_every_event_and_trigger_once(bastion: Bastion, user: str) -> None:
    admin, operator, worker, subscriber = [
        await bastion.client(name) for name in ("provision", "operator", "worker", user)
    ]
    await bastion.restore(admin)
    heard = await subscriber.subscribe("crypto.updates", queue="mine")
    triggers = await subscriber.subscribe("crypto.update", queue="mine")
    await settled(subscriber)
    for publisher in (worker, operator):
        await publisher.publish("crypto.update", b"update")
        await settled(publisher)
        assert (await triggers.next_msg(30)).data == b"update"
    await operator.jetstream().publish(PROBE, b"not for subscribers")
    traced = {"traceparent": trace.fresh()}
    seq = (await worker.jetstream().publish("crypto.updates", b"from the worker", headers=traced)).seq
    await admin.jetstream().publish("crypto.updates", b"from the store's side")
    messages = [await heard.next_msg(30) for _ in range(2)]
    assert [message.data for message in messages] == [b"from the worker", b"from the store's side"]
    # The way from account to account leaves the trace as it is.
    stored = (await admin.jetstream().get_msg("CRYPTO", seq)).headers or {}
    assert (messages[0].headers or {})["traceparent"] == stored["traceparent"] == traced["traceparent"]
    with pytest.raises(Error):
        await heard.next_msg(0.3)
    assert triggers.pending_msgs == 0


@pytest.mark.parametrize("bastion", [ANONYMOUS], indirect=True)
async def test_without_a_login_one_can_only_hear(bastion: Bastion) -> None:
    assert await holes(bastion, "anonymous") == set()
    assert bastion.refused("anonymous", "crypto.updates")
    for _ in range(19):
        await bastion.client("anonymous")
    connection = Connection(bastion.server.url)
    with pytest.raises(Error, match=r"(?i)maximum account active connections"):
        await connection.open(BusSettings.load({}), "test")
    await connection.close()


@pytest.mark.parametrize("bastion", [ANONYMOUS], indirect=True)
async def test_a_wrong_login_is_not_taken_for_none(bastion: Bastion) -> None:
    connection = Connection(bastion.server.url)
    with pytest.raises(Error, match=r"(?i)authorization"):
        await connection.open(BusSettings.load({"NATS_USER": "worker", "NATS_PASSWORD": "wrong"}), "test")
    await connection.close()


@pytest.mark.parametrize(("bastion", "tokens"), [("confined", 9), (ACK_V2, 11)], indirect=["bastion"])
async def test_a_consumer_of_ones_own_gets_every_event_and_leaves_the_api_stubs_alone(
    bastion: Bastion, tokens: int
) -> None:
    admin, client = await bastion.client("provision"), await bastion.client("consumer")
    await bastion.restore(admin)
    await admin.jetstream().publish(PROBE, b"not for others")
    mine = await client.jetstream(prefix=IMPORTED).pull_subscribe_bind("consumer", "CRYPTO")
    messages = await mine.fetch(10, timeout=5)
    assert [message.subject for message in messages] == ["crypto.updates"] * 3
    for message in messages:
        assert message.reply.count(".") + 1 == tokens
        await message.ack()
    js = admin.jetstream()
    await drained(js, "consumer")
    assert (await js.consumer_info("CRYPTO", "api_stub")).num_pending == 4


@pytest.mark.parametrize("bastion", ["confined"], indirect=True)
async def test_a_user_cannot_exhaust_the_server(bastion: Bastion) -> None:
    subscriber, *_ = [await bastion.client("subscriber") for _ in range(50)]
    connection = Connection(bastion.server.url)
    settings = BusSettings.load({"NATS_USER": "subscriber", "NATS_PASSWORD": bastion.password("subscriber")})
    with pytest.raises(Error, match=r"(?i)maximum account active connections"):
        await connection.open(settings, "test")
    await connection.close()
    for _ in range(201):
        await subscriber.subscribe("crypto.updates")
    assert await soon(lambda: "maximum subscriptions exceeded" in str(subscriber.last_error))
    assert (await bastion.client("worker")).max_payload == 1024 * 1024
