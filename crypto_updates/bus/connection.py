"""One connection to a NATS server. It is never repaired: the bus replaces a lost connection by a new one.

nats-py's own reconnect is off. It keeps timed-out publishes and delivers them later, loses pull requests, and can leave
a client whose read loop is dead and which still says `is_connected`. A new client has none of these states.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Coroutine, Iterable
from typing import Any, NamedTuple, TypeVar

import nats.errors
from nats.aio.client import RawCredentials
from nats.js import JetStreamContext
from nats.js.errors import APIError

from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.errors import BusError, JetStreamUnavailableError, NotPermittedError
from crypto_updates.bus.event import SUBJECT
from crypto_updates.bus.login import credentials
from crypto_updates.bus.refusal import jetstream_error
from crypto_updates.bus.rights import Rights, not_permitted
from crypto_updates.bus.stream import STREAM, ensure_stream, stream_config
from crypto_updates.bus.wire import Wire
from crypto_updates.service import errors, lifecycle, trust
from crypto_updates.service.config import redacted

T = TypeVar("T")

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
REPLY_SECONDS = 5.0
PING_SECONDS = 2
PROBE_EVERY_SECONDS = 2.0
CLOSE_SECONDS = 1.0

# What an operation may raise because of the link or the server. ValueError: another subscriber replied to a publish
# with something that is not a PubAck.
LINK_ERRORS = (nats.errors.Error, OSError, TimeoutError, ValueError)


class Receipt(NamedTuple):
    """`seq` is None with core NATS; `duplicate` is True if the stream already had the event."""

    seq: int | None
    duplicate: bool


class Connection:
    """`js` is None while events go over core NATS."""

    def __init__(self, url: str) -> None:
        self.url = redacted(url)
        self.nc = Wire()
        self.js: JetStreamContext | None = None
        self.lost = asyncio.Event()
        self._url = url
        self._api_prefix = ""
        self._error: Exception | None = None
        self._rights = Rights()
        self._reason = ""

    async def open(self, settings: BusSettings, name: str) -> None:
        """Raises one of LINK_ERRORS."""
        self._api_prefix = settings.nats_api_prefix
        login, creds = settings.login(self._url), settings.nats_creds
        connecting = self.nc.connect(
            servers=[login.url],
            name=name,
            inbox_prefix=settings.nats_inbox_prefix,
            # All subjects are ours, from checked settings, or made by the server.
            skip_subject_validation=True,
            allow_reconnect=False,
            # Otherwise nats-py tries twice, with a pause, before it raises NoServersError.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=int(CONNECT_SECONDS),
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            user=login.user,
            password=login.password,
            token=login.token,
            user_credentials=RawCredentials(credentials(creds)) if creds else None,
            tls=trust.context(settings.nats_ca) if settings.nats_ca else None,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await connecting
        except nats.errors.NoServersError as error:
            raise self._error or error from error

    def jetstream(self, timeout: float = REPLY_SECONDS) -> JetStreamContext:
        """JetStream under NATS_API_PREFIX. `timeout`: seconds for a reply."""
        return self.nc.jetstream(prefix=self._api_prefix, timeout=timeout)

    def api(self, request: str) -> str:
        """The subject of a request to JetStream's API, for example `STREAM.INFO.<stream>`."""
        return f"{self._api_prefix}.{request}"

    async def prepare(self, replicas: int) -> None:
        """Use JetStream, and make the stream if it is missing. Raises BusError, or one of LINK_ERRORS."""
        js = self.jetstream()
        try:
            requests = [f"STREAM.{verb}.{STREAM}" for verb in ("INFO", "CREATE")]
            if await self.ask(ensure_stream(js, stream_config(replicas)), requests):
                log.info("[NATS] Stream %s created", STREAM)
        except NotPermittedError:
            log.debug("[NATS] This user may not manage stream %s; the provisioner does", STREAM)
        self.js = js

    async def ask(self, work: Coroutine[Any, Any, T], requests: Iterable[str]) -> T:
        """Return what the work has from JetStream; `requests` are those that it makes of JetStream's API.

        Raises NotPermittedError at once if the user may not make one of them; RefusedError, JetStreamMissingError or
        JetStreamUnavailableError as JetStream answers; or one of LINK_ERRORS.
        """
        try:
            return await self.permitted(work, requests)
        except APIError as error:
            raise self.jetstream_error(error) from error
        except nats.errors.TimeoutError as error:
            raise JetStreamUnavailableError(
                f"no reply within {REPLY_SECONDS:.0f} s: verify that a majority of the cluster's servers runs, and"
                " NATS_INBOX_PREFIX"
            ) from error

    async def permitted(self, work: Coroutine[Any, Any, T], requests: Iterable[str]) -> T:
        """Return what the work returns. Raises NotPermittedError at once if one of its requests is refused."""
        return await self.unless_lost(self._rights.granted(work, [self.api(request) for request in requests]))

    def jetstream_error(self, error: APIError) -> BusError:
        """Why JetStream refused or gave no answer, and what to do."""
        return jetstream_error(error, self._api_prefix, has_jetstream=self.nc.has_jetstream)

    async def publish(self, body: bytes, headers: dict[str, str], subject: str = SUBJECT) -> Receipt:
        """Raises one of LINK_ERRORS; BusError when the server refuses the event."""
        if self.js is None:
            await self.send(body, headers, subject)
            return Receipt(None, duplicate=False)
        self._rights.forget(subject)
        storing = self._store(self.js, body, headers, subject)
        try:
            return await self.unless_lost(self._rights.granted(storing, [subject]))
        except APIError as error:
            raise self.jetstream_error(error) from error

    async def _store(self, js: JetStreamContext, body: bytes, headers: dict[str, str], subject: str) -> Receipt:
        ack = await js.publish(subject, body, timeout=REPLY_SECONDS, stream=STREAM, headers=dict(headers))
        return Receipt(ack.seq, bool(ack.duplicate))

    async def send(self, body: bytes, headers: dict[str, str], subject: str) -> None:
        """Publish over core NATS, without a reply subject. Raises one of LINK_ERRORS; NotPermittedError."""
        self._rights.forget(subject)
        await self.nc.publish(subject, body, headers=headers)
        for _ in range(2):  # nats-py sends the first PING ahead; the PONG to the second proves that it was read
            await self.unless_lost(self.nc.flush(int(REPLY_SECONDS)))
        if self.is_refused(subject):  # the server has said so ahead of the PONG
            raise not_permitted([subject])

    async def watch(self) -> str:
        """Make round trips until one fails or the connection is lost, and return why."""
        while True:
            try:
                await asyncio.wait_for(self.lost.wait(), PROBE_EVERY_SECONDS)
            except TimeoutError:
                try:
                    await self.unless_lost(self.nc.flush(int(REPLY_SECONDS)))
                except LINK_ERRORS as error:
                    if self.lost.is_set():
                        continue
                    return f"no answer to a ping ({errors.text(error)})"
            else:
                return self._reason or f"connection closed ({self.nc.last_error or 'by the server'})"

    async def unless_lost(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work returns. Raises ConnectionClosedError at once when the connection is lost, because
        nats-py would go on waiting for the reply.

        A cancellation ends the work as well. nats-py's requests use `asyncio.wait_for`, which in Python 3.11 forgets a
        cancellation that comes together with the reply (https://github.com/python/cpython/issues/86296).
        """
        return await lifecycle.unless(self.lost.wait(), nats.errors.ConnectionClosedError, work)

    async def ping(self) -> float:
        """The seconds of a round trip, PING_SECONDS at most. Raises one of LINK_ERRORS."""
        begin = time.perf_counter()
        await self.nc.flush(PING_SECONDS)
        return time.perf_counter() - begin

    async def delete(self, seq: int) -> None:
        """Remove a message from the stream. Raises one of LINK_ERRORS."""
        await self.unless_lost(self.jetstream().delete_msg(STREAM, seq))

    def cut(self) -> None:
        """Break the TCP connection, as a network would."""
        transport: Any = self.nc._transport  # noqa: SLF001 - a client has no public way to lose its connection
        transport._io_writer.transport.abort()  # noqa: SLF001 - the same

    def abandon(self, reason: str) -> None:
        """Have the connection replaced: `watch` returns this reason."""
        self._reason = reason
        self.lost.set()

    async def close(self) -> None:
        """Flush and close, with a deadline, because a frozen server must not hold the service back."""
        self.lost.set()
        # nats-py raises AssertionError if the client never tried to connect.
        with contextlib.suppress(*LINK_ERRORS, AssertionError):
            async with asyncio.timeout(lifecycle.left(CLOSE_SECONDS)):
                await self.nc.close()
        if self.nc._transport:  # noqa: SLF001 - nats-py leaves it open when its time is up
            self.cut()

    def is_refused(self, subject: str) -> bool:
        """True if the server has said that this user may not publish there. Such a request gets no reply."""
        return self._rights.lacks(subject)

    def refusal(self, subjects: Iterable[str]) -> str | None:
        """Say which of the subjects the server does not let this user publish on."""
        lacking = [subject for subject in subjects if self.is_refused(subject)]
        return str(not_permitted(lacking)) if lacking else None

    async def _on_error(self, error: Exception) -> None:
        dropping = isinstance(error, nats.errors.SlowConsumerError) and not isinstance(self._error, type(error))
        self._error = error
        refused = "permissions violation" in str(error).lower()
        is_new = refused and self._rights.refuse(str(error))
        level = logging.WARNING if dropping or is_new else logging.DEBUG
        log.log(level, "[NATS] %s: %s", self.url, errors.text(error))

    async def _on_closed(self) -> None:
        self.lost.set()
