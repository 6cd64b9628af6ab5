"""One connection of the harness to NATS: it publishes, and sees what passes, copies included."""

import asyncio
import time
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Self, TypeVar

import msgspec

from crypto_updates.bus import config
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS, Connection, Receipt
from crypto_updates.bus.errors import BusError
from crypto_updates.bus.event import SUBJECT
from crypto_updates.bus.stream import stream_config, update_stream
from crypto_updates.harness.loop import Loop
from crypto_updates.harness.monitor import OBSERVER
from crypto_updates.harness.seen import Seen
from crypto_updates.local.errors import StackError
from crypto_updates.service import errors

T = TypeVar("T")

_AGAIN_SECONDS = 0.05
# A server that was killed or frozen is back by then, if it comes back.
_CONNECTED_SECONDS = 10.0
# For a server that hangs, not for a slow machine.
_ACKNOWLEDGED_SECONDS = 60.0
# The stream may be as small as this, for a disk with little room.
_LEAST_BYTES = 1024**2


class Published(NamedTuple):
    """A message that passed. `at` is by time.monotonic()."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    at: float

    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        """Raises ValueError if the body is not JSON."""
        return msgspec.json.decode(self.body)


class Publisher:
    """Connected again as soon as a server that was down is back. `published`: what passed on the subjects followed."""

    def __init__(self, url: str) -> None:
        self.published = Seen[Published]("messages published")
        self._settings = BusSettings.load({"NATS_URL": url})
        self._url = url
        self._loop = Loop("publisher")
        self._subjects = {SUBJECT}
        self._connection: Connection | None = None
        self._listening: dict[str, Connection] = {}  # the one that a subject was last subscribed to on
        self._connected = asyncio.Event()

    def __enter__(self) -> Self:
        self._loop.__enter__()
        try:
            self._on_loop(self._begin(), "connect")
        except BaseException:
            self._loop.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.__exit__()

    def publish(self, subject: str, body: bytes, headers: Mapping[str, str], copies: int = 1) -> Receipt:
        """Publish, and return what NATS said of the first copy. By then `published` has all, because a server sends the
        message itself ahead of its acknowledgement.

        Raises StackError if NATS does not answer, or refuses the message.
        """
        return self._on_loop(self._publish(subject, body, dict(headers), copies), "publish")

    def follow(self, subject: str) -> None:
        """See what passes on this subject, too. Raises ValueError if it is none, and StackError."""
        if subject not in self._subjects:
            self._subjects.add(config.subject(subject))
            self._on_loop(self._subscribe(subject), "subscribe")

    def renew(self) -> None:
        """Empty the stream, and have it forget the ids of its messages. Its consumers begin anew."""
        self._on_loop(self._renew(), "empty the stream")

    def _on_loop(self, work: Coroutine[Any, Any, T], what: str) -> T:
        try:
            return self._loop.run(work, _ACKNOWLEDGED_SECONDS)
        except (*LINK_ERRORS, BusError) as error:
            raise StackError(f"cannot {what}: {self._url}: {errors.text(error)}") from error

    async def _begin(self) -> None:
        self._task = asyncio.create_task(self._keep())
        await self._connected.wait()

    async def _keep(self) -> None:
        while True:
            connection = Connection(self._url)
            try:
                await self._open(connection)
                self._connected.set()
                await connection.lost.wait()
            except (*LINK_ERRORS, BusError):
                await asyncio.sleep(_AGAIN_SECONDS)
            finally:
                self._connected.clear()
                await connection.close()

    async def _open(self, connection: Connection) -> None:
        await connection.open(self._settings, OBSERVER)
        connection.js = connection.jetstream()
        await update_stream(connection.js, stream_config(1), _LEAST_BYTES)
        self._connection = connection
        for subject in tuple(self._subjects):
            await self._listen(connection, subject)

    async def _listen(self, connection: Connection, subject: str) -> None:
        if self._listening.get(subject) is not connection:
            self._listening[subject] = connection
            await connection.nc.subscribe(subject, cb=self._see)
        await _settle(connection)

    async def _see(self, message: Any) -> None:  # noqa: ANN401 - nats-py's
        self.published.add(Published(message.subject, message.data, message.headers or {}, time.monotonic()))

    async def _working(self) -> Connection:
        """A connection that answers: the server may just have been killed. Raises TimeoutError if there is none."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CONNECTED_SECONDS):
                while True:
                    await self._connected.wait()
                    connection = self._connection
                    if connection and await _answers(connection):
                        return connection
                    await asyncio.sleep(_AGAIN_SECONDS)
        raise TimeoutError(f"no answer within {_CONNECTED_SECONDS:g} s")

    async def _subscribe(self, subject: str) -> None:
        await self._listen(await self._working(), subject)

    async def _publish(self, subject: str, body: bytes, headers: dict[str, str], copies: int) -> Receipt:
        connection = await self._working()
        receipts = [await self._send(connection, subject, body, headers) for _ in range(copies)]
        return receipts[0]

    @staticmethod
    async def _send(connection: Connection, subject: str, body: bytes, headers: dict[str, str]) -> Receipt:
        if subject == SUBJECT:
            return await connection.publish(body, headers)
        await connection.nc.publish(subject, body, headers=headers or None)
        await _settle(connection)
        return Receipt(None, duplicate=False)

    async def _renew(self) -> None:
        js = (await self._working()).jetstream()
        config = stream_config(1)
        name = str(config.name)
        consumers = await js.consumers_info(name)
        await js.delete_stream(name)
        await update_stream(js, config, _LEAST_BYTES)
        for consumer in consumers:
            await js.add_consumer(name, consumer.config)


async def _answers(connection: Connection) -> bool:
    try:
        await connection.unless_lost(connection.ping())
    except LINK_ERRORS:
        return False
    return True


async def _settle(connection: Connection) -> None:
    """Return when the server has read all that was sent: nats-py sends the first PING ahead of it."""
    for _ in range(2):
        await connection.nc.flush(5)
