"""One connection to a NATS server: made once, never repaired. Whoever loses it makes a new one.

nats-py's own reconnect is off. It keeps timed-out publishes and delivers them later, loses pull requests, and can end
with a dead read loop behind `is_connected`; a fresh client has none of these states.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import ServiceUnavailableError

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.errors import JetStreamMissingError
from crypto_updates.bus.event import SUBJECT
from crypto_updates.bus.stream import STREAM, ensure_stream, stream_config
from crypto_updates.service import errors
from crypto_updates.service.config import redacted

T = TypeVar("T")

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0
PUBLISH_TIMEOUT = 5.0
PROBE_EVERY = 2.0
PROBE_TIMEOUT = 5.0

LOGIN = "verify NATS_USER and NATS_PASSWORD, NATS_TOKEN or NATS_CREDS"

# What an operation on a connection may raise when the link or the server is the reason. ValueError: somebody else
# answered a publish, and what they said is not a PubAck.
LINK_ERRORS = (nats.errors.Error, OSError, TimeoutError, ValueError)


class _Client(Client):
    """A client that was asked for TLS sends nothing, its password least of all, to a server that does without it."""

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002
        # nats-py goes by what the server's INFO says, which whoever sits in between can change.
        asked = self.options.get("tls") or (self._current_server and self._current_server.uri.scheme == "tls")
        if initial_connection and asked and not info.get("tls_required"):
            raise nats.errors.SecureConnRequiredError
        await super()._process_info(info, initial_connection)


class Connection:
    """`js` is None where events go over core NATS."""

    def __init__(self, url: str) -> None:
        self.url = redacted(url)
        self.nc: Client = _Client()
        self.js: JetStreamContext | None = None
        self.lost = asyncio.Event()
        self._url = url
        self._api_prefix = ""
        self._error: Exception | None = None
        self._refused = ""
        self._reason = ""

    async def open(self, settings: BusSettings, name: str) -> None:
        """Raises one of LINK_ERRORS."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._connect(settings, name)
        except nats.errors.NoServersError as error:
            raise self._error or error from error

    async def _connect(self, settings: BusSettings, name: str) -> None:
        self._api_prefix = settings.nats_api_prefix
        await self.nc.connect(
            servers=[self._url],
            name=name,
            inbox_prefix=settings.nats_inbox_prefix,
            # They are the project's own, the settings', which are checked, and the replies that the server has made.
            skip_subject_validation=True,
            allow_reconnect=False,
            # nats-py tries twice before it says NoServersError, and would wait between.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(CONNECT_TIMEOUT),
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            user=settings.nats_user,
            password=settings.nats_password.get_secret_value() if settings.nats_password else None,
            token=settings.nats_token.get_secret_value() if settings.nats_token else None,
            user_credentials=str(settings.nats_creds) if settings.nats_creds else None,
            tls=ssl.create_default_context(cafile=settings.nats_ca) if settings.nats_ca else None,
        )

    def jetstream(self, timeout: float = PUBLISH_TIMEOUT) -> JetStreamContext:
        """JetStream as this user reaches it. `timeout`: seconds for an answer."""
        return self.nc.jetstream(prefix=self._api_prefix, timeout=timeout)

    def api(self, request: str) -> str:
        """The subject of a request to JetStream's API, `CONSUMER.MSG.NEXT.<stream>.<consumer>` for one."""
        return f"{self._api_prefix}.{request}"

    async def prepare(self, replicas: int) -> None:
        """Use JetStream, and make the stream where it is missing.

        Raises JetStreamMissingError where the server, or this account on it, has no JetStream.
        """
        js = self.jetstream()
        try:
            if await ensure_stream(js, stream_config(replicas)):
                log.info("[NATS] Stream %s created", STREAM)
        except ServiceUnavailableError as error:
            raise JetStreamMissingError from error
        except nats.errors.TimeoutError:
            # A user without the right to ask gets no answer; then the stream is the provisioner's affair.
            log.debug("[NATS] stream info of %s: no answer", STREAM)
        self.js = js

    async def publish(self, body: bytes, headers: dict[str, str]) -> tuple[int | None, bool]:
        """The event's sequence in the stream (None with core NATS), and True if the stream had it already."""
        if self.js is None:
            await self.unless_lost(self._sent(body, headers))
            return None, False
        ack = await self.unless_lost(
            self.js.publish(SUBJECT, body, timeout=PUBLISH_TIMEOUT, stream=STREAM, headers=dict(headers))
        )
        return ack.seq, bool(ack.duplicate)

    async def _sent(self, body: bytes, headers: dict[str, str]) -> None:
        """Over core NATS, and read by the server: it answers a PING that it has read behind it."""
        await self.nc.publish(SUBJECT, body, headers=headers)
        # nats-py sends the first PING at once, ahead of what is to be published.
        for _ in range(2):
            await self.nc.flush(int(PUBLISH_TIMEOUT))

    async def watch(self) -> str:
        """Return, with the reason, when the connection is of no more use, found by round trips."""
        while True:
            try:
                await asyncio.wait_for(self.lost.wait(), PROBE_EVERY)
            except TimeoutError:
                try:
                    await self.unless_lost(self.nc.flush(int(PROBE_TIMEOUT)))
                except LINK_ERRORS as error:
                    if self.lost.is_set():
                        continue
                    return f"no answer to a ping ({type(error).__name__})"
            else:
                return self._reason or f"connection closed ({self.nc.last_error or 'by the server'})"

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """What the work returns. Raises ConnectionClosedError as soon as the connection is lost: nats-py would wait on
        for an answer that cannot come any more.

        A cancellation gets through, too. Python 3.11's `asyncio.wait_for`, on which nats-py's requests rest, forgets
        one that comes in the same instant as the answer (https://github.com/python/cpython/issues/86296).
        """
        task, lost = asyncio.ensure_future(work), asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait([task, lost], return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise nats.errors.ConnectionClosedError
            return task.result()
        finally:
            task.cancel()
            lost.cancel()

    def use_jetstream(self) -> None:
        """Publish into the stream, and expect that it exists."""
        self.js = self.jetstream()

    async def ping(self) -> float:
        """The seconds of a round trip, 2 at most. Raises one of LINK_ERRORS."""
        begin = time.perf_counter()
        await self.nc.flush(2)
        return time.perf_counter() - begin

    async def delete(self, seq: int) -> None:
        """Remove a message from the stream. Raises one of LINK_ERRORS."""
        await self.unless_lost(self.jetstream().delete_msg(STREAM, seq))

    def cut(self) -> None:
        """Break the TCP connection, as a network would."""
        transport: Any = self.nc._transport  # noqa: SLF001 - a client has no public way to lose its connection
        transport._io_writer.transport.abort()  # noqa: SLF001 - the same

    def abandon(self, reason: str) -> None:
        """Have the connection replaced: `watch` returns with this reason."""
        self._reason = reason
        self.lost.set()

    async def close(self) -> None:
        """Flush what was sent, then close, within a second: a frozen server must not hold the service back."""
        self.lost.set()
        # nats-py asserts that a client which is closed has once tried to connect.
        with contextlib.suppress(*LINK_ERRORS, AssertionError):
            async with asyncio.timeout(1):
                await self.nc.close()

    def is_refused(self, subject: str) -> bool:
        """True if the server has said that this user may not publish there, to which a request gets no answer."""
        return subject.lower() in self._refused

    async def _on_error(self, error: Exception) -> None:
        dropping = isinstance(error, nats.errors.SlowConsumerError) and not isinstance(self._error, type(error))
        self._error = error
        refused = "permissions violation" in str(error)
        self._refused += str(error).lower() if refused and str(error).lower() not in self._refused else ""
        level = logging.WARNING if dropping or refused else logging.DEBUG
        log.log(level, "[NATS] %s: %s", self.url, error)

    async def _on_closed(self) -> None:
        self.lost.set()


# The first that fits says what failed and what to verify.
REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (JetStreamMissingError, "JETSTREAM_MISSING", "start nats-server with -js, or set DELIVERY=core"),
    (nats.errors.SecureConnRequiredError, "TLS_MISSING", "the server has no TLS, which tls:// or NATS_CA asks for"),
    (ssl.SSLError, "TLS_FAILED", "verify NATS_CA and the server's certificate"),
    (TimeoutError, "TIMEOUT", "verify that it is a NATS server that listens there"),
    (nats.errors.AuthorizationError, "AUTHORIZATION_VIOLATION", LOGIN),
    (OSError, "CONNECTION_REFUSED", "verify that the NATS server is running (docker ps)"),
)


def reason(error: Exception, url: str) -> str:
    """A code, the URL, and what to verify, for the line that tells of a failed connection."""
    log.debug("[NATS] %s: %r", url, error)
    if "authorization" in str(error).lower():
        error = nats.errors.AuthorizationError()
    for kind, code, advice in REASONS:
        if isinstance(error, kind):
            return f"{code} {url}: {advice}"
    return f"CONNECTION_FAILED {url}: {errors.text(error)}"
