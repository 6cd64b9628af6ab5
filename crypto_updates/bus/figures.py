"""The figures and the settings of stream and consumer, as the server tells them, and what its refusals mean."""

import asyncio
from typing import NamedTuple

from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo, StreamInfo
from nats.js.errors import APIError, NotFoundError

from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.errors import BusError, JetStreamMissingError, NotPermittedError
from crypto_updates.bus.event import SUBJECT
from crypto_updates.bus.stream import DAY, DURABLE, PROBE, STREAM, consumer_config, stream_config, takes
from crypto_updates.service import errors

NATS_REPLY_SECONDS = 2.0
PROVISION = "run `crypto-updates provision` (docker compose up provision)"
NATS_LOG = "see the NATS server's log (docker compose logs nats)"


class Figures(NamedTuple):
    """`pending` events wait in the stream. `ack_pending` were delivered, `redelivered` of them more than once."""

    messages: int
    last_seq: int
    pending: int
    ack_pending: int
    redelivered: int


class FiguresError(BusError):
    def __init__(self, problem: str, advice: str) -> None:
        super().__init__(f"{problem}: {advice}")
        self.problem = problem
        self.advice = advice


class AbsentError(FiguresError):
    """There is no JetStream, no stream or no consumer."""


class UnknownError(FiguresError):
    """The user may not ask. It may still be able to publish, or to receive."""


async def read(connection: Connection) -> Figures | None:
    """Return None with core NATS, which has no stream. Raises FiguresError."""
    if connection.js is None:
        return None
    stream, consumer = await _infos(connection, connection.js)
    return Figures(
        stream.state.messages,
        stream.state.last_seq,
        consumer.num_pending or 0,
        consumer.num_ack_pending or 0,
        consumer.num_redelivered or 0,
    )


async def differences(connection: Connection, replicas: int) -> list[str]:
    """The settings of stream and consumer that break a promise; `replicas` is STREAM_REPLICAS. Raises FiguresError."""
    if connection.js is None:
        return []
    stream, consumer = await _infos(connection, connection.js)
    compared = (
        (stream.config, stream_config(1), ("storage", "retention", "discard")),
        (consumer.config, consumer_config(), ("ack_policy", "max_deliver")),
    )
    found = [
        f"{name} is {_value(getattr(has, name))} and not {_value(getattr(wanted, name))}"
        for has, wanted, names in compared
        for name in names
        if getattr(has, name) != getattr(wanted, name)
    ]
    missing = [subject for subject in (SUBJECT, PROBE) if not takes(stream.config.subjects, subject)]
    found += [f"stream {STREAM} does not take {subject}" for subject in missing]
    if (copies := stream.config.num_replicas or 1) < replicas:
        found.append(f"stream {STREAM} has {copies} of {replicas} copies")
    window = stream.config.duplicate_window or 0
    return found + ([f"duplicate_window is {window:.0f} s and not {DAY:.0f} s or more"] if window < DAY else [])


async def _infos(connection: Connection, js: JetStreamContext) -> tuple[StreamInfo, ConsumerInfo]:
    missing = f"stream {STREAM}"
    try:
        async with asyncio.timeout(NATS_REPLY_SECONDS):
            stream = await connection.permitted(js.stream_info(STREAM), [f"STREAM.INFO.{STREAM}"])
            missing = f"consumer {DURABLE}"
            info = js.consumer_info(STREAM, DURABLE)
            return stream, await connection.permitted(info, [f"CONSUMER.INFO.{STREAM}.{DURABLE}"])
    except NotPermittedError as error:
        problem, _, advice = errors.text(error).rpartition(": ")
        raise UnknownError(problem, advice) from error
    except NotFoundError as error:
        raise AbsentError(f"there is no {missing}", PROVISION) from error
    except APIError as error:
        cause = connection.jetstream_error(error)
        kind = AbsentError if isinstance(cause, JetStreamMissingError) else FiguresError
        problem, _, advice = errors.text(cause).rstrip(".").rpartition(": ")
        raise kind(problem, advice) from error
    except TimeoutError as error:
        advice = "if NATS is well, NATS_USER may not have the right to ask"
        raise FiguresError(f"no answer about the {missing} within {NATS_REPLY_SECONDS:.0f} s", advice) from error
    except LINK_ERRORS as error:
        raise FiguresError(errors.text(error), NATS_LOG) from error


def _value(setting: object) -> object:
    return getattr(setting, "value", setting)
