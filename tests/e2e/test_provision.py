"""What provision makes of servers that have something already."""

from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig

from crypto_updates.bus.stream import ACK_WAIT_SECONDS, DAY, PROBE
from tests.e2e.conftest import Stack
from tests.support import HANG_SECONDS, connect


async def test_a_stream_and_a_consumer_of_an_earlier_version_get_the_settings_of_this_one(stack: Stack) -> None:
    client = await connect(stack.nats.url)
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="CRYPTO", subjects=["crypto.updates"], duplicate_window=120.0))
    old = ConsumerConfig(durable_name="api_stub", ack_policy=AckPolicy.EXPLICIT, ack_wait=30.0, description="mine")
    await js.add_consumer("CRYPTO", old)
    await js.publish("crypto.updates", b"1")
    await js.publish("crypto.updates", b"2")
    subscription = await js.pull_subscribe_bind("api_stub", "CRYPTO")
    await (await subscription.fetch(1))[0].ack_sync(HANG_SECONDS)
    for _ in range(2):
        assert stack.run("stack", "provision").wait() == 0
    stream, consumer = await js.stream_info("CRYPTO"), await js.consumer_info("CRYPTO", "api_stub")
    await client.close()
    assert (stream.config.duplicate_window, stream.state.messages) == (7 * DAY, 2)
    assert stream.config.subjects == ["crypto.updates", PROBE]
    assert (consumer.config.ack_wait, consumer.config.description) == (ACK_WAIT_SECONDS, "mine")
    assert (consumer.num_pending, consumer.ack_floor and consumer.ack_floor.stream_seq) == (1, 1)
