"""The JetStream stream and its durable consumer: their names and settings, and how they are made."""

import re
from collections.abc import Iterable

from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import APIError, NotFoundError

from crypto_updates.bus.errors import RefusedError
from crypto_updates.bus.event import SUBJECT

STREAM = "CRYPTO"
DURABLE = "api_stub"
# For one API server of the user's own. It gets every event from the stream's first on, and no probe.
OWN_DURABLE = "consumer"
# The events of `verify`. Not below `crypto.`, so that no subscriber on crypto.updates, crypto.* or crypto.> hears them.
PROBE = "probe.crypto.updates"

DAY = 86_400.0
# The server reserves it when the stream is made.
MAX_BYTES = 2 * 1024**3
# nats-server/server/errors.json
NO_STORAGE, STREAM_TOO_LARGE = 10047, 10122
# When an API stub is killed, its unacknowledged events are delivered again after this time. Longer than MongoDB's
# deadline.
ACK_WAIT_SECONDS = 10.0
# Such a server may ask the market itself before it acknowledges.
OWN_ACK_WAIT_SECONDS = 30.0


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
        max_bytes=MAX_BYTES,
        num_replicas=replicas,
        allow_direct=True,
    )


def consumer_config(durable: str = DURABLE) -> ConsumerConfig:
    config = ConsumerConfig(
        durable_name=durable,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=ACK_WAIT_SECONDS,
        max_deliver=-1,
        max_ack_pending=20_000,
    )
    if durable == OWN_DURABLE:
        return config.evolve(filter_subject=SUBJECT, ack_wait=OWN_ACK_WAIT_SECONDS, max_ack_pending=1000)
    return config


def takes(subjects: Iterable[str] | None, subject: str) -> bool:
    """True if the subject is among those of a stream, which may have wildcards."""
    forms = (re.escape(pattern).replace(r"\*", r"[^.]+").replace(">", ".+") for pattern in subjects or ())
    return any(re.fullmatch(form, subject) for form in forms)


async def ensure_stream(js: JetStreamContext, config: StreamConfig) -> bool:
    """Make the stream if it is missing, and return True if so.

    Raises nats.errors.Error; RefusedError when the one that is there does not take the first subject.
    """
    try:
        found = (await js.stream_info(str(config.name))).config
    except NotFoundError:
        await js.add_stream(config)
        return True
    subject = (config.subjects or [SUBJECT])[0]
    if not takes(found.subjects, subject):
        raise RefusedError(
            f"stream {found.name} takes {', '.join(found.subjects or ()) or 'no subject'} and not {subject}:"
            " run `crypto-updates provision`, which gives it the subject"
        )
    return False


async def update_stream(js: JetStreamContext, config: StreamConfig, least_bytes: int = MAX_BYTES) -> int:
    """Give the stream the settings of this version; it keeps an owner's other subjects. Return its max_bytes.

    When the server has no room, half the size is tried, and so on down to `least_bytes`. Raises nats.errors.Error.
    """
    try:
        found = (await js.stream_info(str(config.name))).config
    except NotFoundError:
        found, put = config, js.add_stream
    else:
        put = js.update_stream
    ours = config.subjects or []
    others = [pattern for pattern in found.subjects or () if not any(takes([pattern], subject) for subject in ours)]
    size, wanted = config.max_bytes or 0, config.evolve(subjects=[*ours, *others])
    while True:
        try:
            await put(wanted.evolve(max_bytes=size))
        except APIError as error:
            if error.err_code not in (NO_STORAGE, STREAM_TOO_LARGE) or size // 2 < least_bytes:
                raise
            size //= 2
        else:
            return size


async def ensure_consumer(js: JetStreamContext, durable: str = DURABLE) -> bool:
    """Make the durable consumer if it is missing, and return True if so. Raises nats.errors.Error."""
    try:
        await js.consumer_info(STREAM, durable)
    except NotFoundError:
        await js.add_consumer(STREAM, consumer_config(durable))
        return True
    return False


async def update_consumer(js: JetStreamContext, durable: str = DURABLE) -> None:
    """Give the durable consumer the settings of this version that can be changed. Raises nats.errors.Error."""
    await ensure_consumer(js, durable)
    config, wanted = (await js.consumer_info(STREAM, durable)).config, consumer_config(durable)
    changed = config.evolve(ack_wait=wanted.ack_wait, max_ack_pending=wanted.max_ack_pending)
    if changed != config:
        await js.add_consumer(STREAM, changed)
