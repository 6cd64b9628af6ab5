import asyncio
import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Self

import nats.errors
from nats.js.errors import NoStreamResponseError

from crypto_updates.bus import history
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS, PING_SECONDS, Connection, Receipt
from crypto_updates.bus.errors import BusError, UnreachableError, is_definite, reason
from crypto_updates.bus.event import PUBLICATION, SUBJECT
from crypto_updates.service import errors, lifecycle

log = logging.getLogger(__name__)

CONNECT_AGAIN_SECONDS = 2.0
PUBLISH_AGAIN_SECONDS = 1.0
# A lasting failure is retried often and logged rarely.
TELL_AGAIN_SECONDS = 60.0

Prepare = Callable[[Connection], Awaitable[None]]


class Bus:
    """Connects in the background, watches the connection, and replaces it when it is lost."""

    def __init__(self, settings: BusSettings, name: str, prepare: Prepare | None = None) -> None:
        """`prepare` makes what is missing in JetStream, over each new connection; the default makes the stream."""
        self._settings = settings
        self._prepare = prepare or (lambda connection: connection.prepare(settings.stream_replicas))
        self._name = name
        self.is_starting = True  # until the first attempt to connect has ended, well or not
        self._connection: Connection | None = None
        self._tried = asyncio.Event()  # of the attempt under way
        self._delivery = settings.delivery
        self._told: dict[str, float] = {}
        self._reason: str | None = None
        self._refusing: set[str] = set()  # the servers that refuse for good
        # Why the server does not take an event, or give one, until it does.
        self.refusal: str | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(lifecycle.keep(self._supervise), name="bus")
        return self

    async def __aexit__(self, *_: object) -> None:
        await lifecycle.end(self._task)

    async def connection(self, wait: float | None = None) -> Connection:
        """Return the working connection. Raises UnreachableError if there is none within `wait` seconds.

        With a `wait`, also at once when each server has refused what is needed, because it will again.
        """
        try:
            async with asyncio.timeout(wait):
                while not self._connection or self._connection.lost.is_set():
                    if wait is not None and self._refusing.issuperset(self._settings.nats_url):
                        raise UnreachableError(self._reason)
                    await self._tried.wait()
        except TimeoutError as error:
            raise UnreachableError(self._reason) from error
        return self._connection

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    @property
    def lack(self) -> str | None:
        """What the connection lacks, when DELIVERY=auto goes on without JetStream."""
        if self._connection and not self._connection.js and self._delivery == "auto":
            return (
                f"{self._connection.url} has no JetStream: start nats-server with -js, or set DELIVERY=core to accept"
                " that events are lost while nobody listens"
            )
        return None

    async def ping(self) -> None:
        """Make a round trip to the server. Raises UnreachableError."""
        if not self._connection:
            raise UnreachableError(self._reason or "NATS is not connected")
        try:
            await self._connection.ping()
        except LINK_ERRORS as error:
            raise UnreachableError(f"NATS did not answer a ping within {PING_SECONDS} s") from error

    def leave(self, connection: Connection, reason: str) -> bool:
        """Have the connection replaced by one to another server. False where NATS_URL names only one."""
        if len(self._settings.nats_url) == 1:
            return False
        connection.abandon(reason)
        return True

    async def publish(self, body: bytes, headers: dict[str, str], subject: str = SUBJECT) -> Receipt:
        """Publish until the server acknowledges. Raises nats.errors.MaxPayloadError.

        A publish that timed out may have been stored. Retrying is safe: the stream drops a second event with the id.
        Only what another publisher, or an earlier run, has stored is a duplicate then.
        """
        sent, is_repeated = headers | {PUBLICATION: secrets.token_hex(8)}, False
        while True:
            connection = await self.connection()
            try:
                receipt = await connection.publish(body, sent, subject)
                if receipt.seq and receipt.duplicate and is_repeated:
                    is_other = not await history.has(connection, receipt.seq, sent[PUBLICATION])
                    receipt = receipt._replace(duplicate=is_other)
            except nats.errors.MaxPayloadError:
                raise
            except (*LINK_ERRORS, BusError) as error:
                is_repeated = True
                self.refusal = str(error) if isinstance(error, BusError) else None
                self.tell(f"[PUBLISH] NATS did not acknowledge the event ({errors.text(error)}); retrying")
                if isinstance(error, TimeoutError | NoStreamResponseError):
                    connection.abandon("a publish was not answered")  # the next connection makes the stream if needed
                await asyncio.sleep(PUBLISH_AGAIN_SECONDS)
            else:
                self.refusal = None
                return receipt

    async def send(self, body: bytes, subject: str) -> bool:
        """Send a core message without a reply subject, at most once. True if the server has it for certain."""
        connection = await self.connection()
        try:
            await connection.send(body, {}, subject)
        except (*LINK_ERRORS, BusError) as error:
            self.refusal = str(error) if isinstance(error, BusError) else None
            self.tell(
                f"[PUBLISH] The message on {subject} is not confirmed ({errors.text(error)}); it is not sent twice"
            )
            return False
        return True

    async def _supervise(self) -> None:
        urls = self._settings.nats_url
        start = secrets.randbelow(len(urls))  # so that the clients of a cluster spread over its servers
        for url in itertools.cycle(urls[start:] + urls[:start]):
            connection = Connection(url)
            pause = CONNECT_AGAIN_SECONDS
            try:
                await self._open(connection)
                log.info("[NATS] Connected to %s", connection.url)
                self._serve(connection)
                begin = time.monotonic()
                lost = await connection.watch()
                log.warning("[NATS] Disconnected from %s: %s; reconnecting", connection.url, lost)
                # Reconnect at once, unless the server closed a connection that it had only just accepted.
                pause -= time.monotonic() - begin
            except (*LINK_ERRORS, BusError) as error:
                self._reason = reason(error, connection.url)
                (self._refusing.add if is_definite(error) else self._refusing.discard)(url)
                self.tell(f"[NATS] {self._reason}; retrying in {pause:.0f} s")
            except Exception:
                log.exception("[NATS] %s: unexpected; retrying in %.0f s", connection.url, pause)
            finally:
                self._serve(None)
                await connection.close()
            await asyncio.sleep(pause)

    async def _open(self, connection: Connection) -> None:
        await connection.open(self._settings, self._name)
        if self._delivery == "auto" and connection.nc.has_jetstream:
            # From now on. A server that loses JetStream later (a bad disk, a restart without -js) has a fault.
            self._delivery = "jetstream"
        if self._delivery == "jetstream":
            await self._prepare(connection)
        elif self._delivery == "auto":
            self.tell(
                f"[NATS] {connection.url} has no JetStream: using core NATS, so an event sent while no API stub listens"
                " is lost, and a second copy is not dropped by the server (start nats-server with -js; DELIVERY=core"
                " accepts this without the warning)"
            )

    def _serve(self, connection: Connection | None) -> None:
        self._connection = connection
        self.is_starting = False
        if connection:
            self._reason = None
            self._refusing.clear()
        self._tried.set()
        self._tried = asyncio.Event()

    def tell(self, line: str) -> None:
        """Log the line as a warning, but not again within TELL_AGAIN_SECONDS."""
        now = time.monotonic()
        self._told = {told: at for told, at in self._told.items() if now - at < TELL_AGAIN_SECONDS}
        if line not in self._told:
            log.warning("%s", line)
            self._told[line] = now
