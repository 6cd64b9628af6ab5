"""Who has subscribed, as nats-server tells it."""

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from crypto_updates.harness import monitor
from crypto_updates.harness.crypto import Crypto
from crypto_updates.local.servers import NatsServer
from tests.support import connect, settled, soon

SUBJECT = "crypto.updates"


@pytest.fixture
async def client(crypto: Crypto) -> AsyncIterator[Client]:
    client = await connect(crypto.nats.url, name="mine")
    yield client
    await client.close()


@pytest.mark.parametrize("pattern", [SUBJECT, "crypto.*", ">"])
async def test_a_subscription_that_hears_the_subject_counts(crypto: Crypto, client: Client, pattern: str) -> None:
    assert crypto.subscribers() == []  # the stream and the harness are none
    subscription = await client.subscribe(pattern, queue="workers")
    await client.subscribe("crypto.update")
    await settled(client)
    (found,) = crypto.subscribers()
    assert found.client
    assert (found.subject, found.queue, found.client.name, found.client.lang) == (pattern, "workers", "mine", "python3")
    assert found.client.version
    await subscription.unsubscribe()
    await settled(client)
    assert crypto.subscribers() == []


async def test_a_consumer_counts_while_somebody_listens_to_it(crypto: Crypto, client: Client) -> None:
    pull = await client.jetstream().pull_subscribe(SUBJECT, "durable")
    assert crypto.subscribers() == []
    with pytest.raises(TimeoutError):
        await pull.fetch(1, timeout=0.1)
    await client.subscribe("reply")
    await settled(client)  # the server drops a request to whose reply nobody listens
    await client.publish("$JS.API.CONSUMER.MSG.NEXT.CRYPTO.durable", b'{"expires":60000000000}', "reply")
    await client.jetstream().subscribe(SUBJECT, "", durable="pushed")
    await settled(client)
    await soon(lambda: {"pushed", "durable"} <= {found.consumer for found in crypto.subscribers()})
    assert {"pushed", "durable"} <= {found.consumer for found in crypto.subscribers()}
    assert crypto.subscribers("crypto.update") == []
    assert "reply" in subjects(crypto)
    assert not [subject for subject in subjects(crypto) if subject.startswith("_INBOX")]


def subjects(crypto: Crypto) -> set[str]:
    return {found.subject for found in monitor.subscriptions(crypto.nats)}


def test_a_server_that_does_not_answer_has_no_subscriptions() -> None:
    with NatsServer() as server, server.down():
        assert monitor.subscriptions(server, SUBJECT) == []
        assert monitor.clients(server) == []
