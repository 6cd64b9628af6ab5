import contextlib
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from nats.aio.msg import Msg
from nats.errors import NotJSMessageError

from crypto_updates.bus.connection import LINK_ERRORS
from crypto_updates.bus.stream import STREAM
from crypto_updates.service import errors

log = logging.getLogger(__name__)

# The prefix of a delivery's reply subject, and the number of tokens in its two forms.
ACK, SHORT_TOKENS, LONG_TOKENS = "$JS.ACK.", 9, 11


@dataclass(slots=True, eq=False)
class Delivery:
    """A message and its stream sequence (None with core NATS), delivered `times` times until now.

    `of` reads only what every event needs. nats-py's `metadata` parses all of the reply, which took a ninth of the API
    stub's time.
    """

    message: Msg = field(repr=False)
    seq: int | None
    times: int

    @classmethod
    def of(cls, message: Msg) -> Self:
        tokens = message.reply.split(".")
        # $JS.ACK, domain and account in the long form, stream, consumer, times, seq, and more (NATS ADR-15).
        at = 4 if len(tokens) == SHORT_TOKENS else 6 if len(tokens) >= LONG_TOKENS else None
        if at and message.reply.startswith(ACK) and tokens[at].isdecimal() and tokens[at + 1].isdecimal():
            return cls(message, int(tokens[at + 1]), int(tokens[at]))
        return cls(message, None, 1)

    @property
    def body(self) -> bytes:
        return self.message.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self.message.headers or {}

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.body) + len(str(self.headers))

    @property
    def place(self) -> str:
        """Names this one message. A stream that is made again counts from 1 again, so the time is part of the name."""
        with contextlib.suppress(NotJSMessageError, ValueError, OverflowError):
            if self.seq is not None:
                return f"{STREAM}#{self.seq}@{self.message.metadata.timestamp.isoformat()}"
        return f"core@{datetime.now(UTC).isoformat()}#{uuid.uuid4().hex}"

    async def ack(self) -> None:
        """Acknowledge, unconfirmed. If that gets lost, the event comes again and MongoDB refuses the duplicate key."""
        if self.seq is None:
            return
        try:
            await self.message.ack()
        except LINK_ERRORS as error:
            log.debug("[NATS] Not acknowledged: %s", errors.text(error))
