"""The JetStream stream and its durable consumer: their names, their settings, and making them exist."""

from __future__ import annotations

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError

from crypto_updates.bus.event import SUBJECT

STREAM = "CRYPTO"
DURABLE = "api_stub"

DAY = 86_400.0
# Seconds until an event that was not acknowledged is delivered again. MongoDB's deadline stays below it, and it is what
# the events in hand of an API stub that was killed wait for.
ACK_WAIT = 10.0


def stream_config(replicas: int) -> StreamConfig:
    """Limits retention and discard new: neither may drop an event that nobody has stored yet.

    The deduplication ids are rebuilt from stored messages on a restart, so max_age may not be below duplicate_window.
    """
    return StreamConfig(
        name=STREAM,
        subjects=[SUBJECT],
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
        ack_wait=ACK_WAIT,
        max_deliver=-1,
        max_ack_pending=20_000,
    )


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> bool:
    """Return True if the stream was missing and has been made. Raises nats.errors.Error."""
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
    """Return True if the durable consumer was missing and has been made. Raises nats.errors.Error."""
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
