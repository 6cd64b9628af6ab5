"""The JetStream stream and its durable consumer: their names and settings, and how they are made."""

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from crypto_updates.bus.event import SUBJECT

STREAM = "CRYPTO"
DURABLE = "api_stub"
# The events of `verify`. Not below `crypto.`, so that no subscriber on crypto.updates, crypto.* or crypto.> hears them.
PROBE = "probe.crypto.updates"

DAY = 86_400.0
# When an API stub is killed, its unacknowledged events are delivered again after this time. Longer than MongoDB's
# deadline.
ACK_WAIT_SECONDS = 10.0


def stream_config(replicas: int) -> StreamConfig:
    """With limits retention and discard new, the stream drops no event that is not stored in MongoDB yet.

    On a restart the server rebuilds the deduplication ids from the messages, so max_age is at least duplicate_window.
    """
    return StreamConfig(
        name=STREAM,
        subjects=[SUBJECT, PROBE],
        storage=StorageType.FILE,
        retention=RetentionPolicy.LIMITS,
        discard=DiscardPolicy.NEW,
        max_age=30 * DAY,
        duplicate_window=7 * DAY,
        max_bytes=2 * 1024**3,
        num_replicas=replicas,
        allow_direct=True,
    )


def consumer_config() -> ConsumerConfig:
    return ConsumerConfig(
        durable_name=DURABLE,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=20_000,
    )


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> bool:
    """Make the stream if it is missing, and return True if so. Raises nats.errors.Error."""
    try:
        await js.stream_info(str(config.name))
    except NotFoundError:
        await js.add_stream(config)
        return True
    return False


async def update_stream(js: JetStreamContext, config: StreamConfig) -> None:
    """Give the stream the settings of this version. Raises nats.errors.Error."""
    if not await ensure_stream(js, config):
        await js.update_stream(config)


async def ensure_consumer(js: JetStreamContext) -> bool:
    """Make the durable consumer if it is missing, and return True if so. Raises nats.errors.Error."""
    try:
        await js.consumer_info(STREAM, DURABLE)
    except NotFoundError:
        await js.add_consumer(STREAM, consumer_config())
        return True
    return False


async def update_consumer(js: JetStreamContext) -> None:
    """Give the durable consumer the settings of this version that can be changed. Raises nats.errors.Error."""
    await ensure_consumer(js)
    config, wanted = (await js.consumer_info(STREAM, DURABLE)).config, consumer_config()
    changed = config.evolve(ack_wait=wanted.ack_wait, max_ack_pending=wanted.max_ack_pending)
    if changed != config:
        await js.add_consumer(STREAM, changed)
