"""Publishers beside the workers: events of every kind, good and malformed, as fast as they are asked to."""

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Self

from nats.aio.client import Client
from nats.js.errors import APIError, NoStreamResponseError

from crypto_updates.bus.event import MSG_ID, SUBJECT
from crypto_updates.bus.stream import STREAM
from crypto_updates.local.servers import NatsServer
from tests.chaos import client
from tests.chaos.history import History, Operation, Result

PUBLISHERS = 16
# Seconds for an acknowledgement; between attempts; for what is under way at the end.
PATIENCE, WAIT, LAST = 5.0, 0.2, 20.0
ATTEMPTS = 20
# One in so many is malformed.
MALFORMED_EVERY = 20
NOW = "2023-11-21T14:30:00Z"

MALFORMED = (
    b"",
    b"null",
    b"[1, 2]",
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    b'{"event":"CRYPTO_UPDATE"',
    b'{"event":"CRYPTO_UPDATE"}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00"}',
    b'{"event":"OTHER","timestamp":"2023-11-21T14:30:00Z"}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","n":NaN}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","n":18446744073709551616}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","_id":"mine"}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","a\\u0000b":1}',
    b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","deep":' + 150 * b"[" + 150 * b"]" + b"}",
)


def body(number: int, rng: random.Random, padding: int = 0) -> tuple[bytes, bool]:
    """What the event of this number carries, and whether it is valid."""
    if number % MALFORMED_EVERY == 0:
        return rng.choice(MALFORMED), False
    fields = {"event": "CRYPTO_UPDATE", "timestamp": rng.choice([NOW, datetime.now(UTC).isoformat()])}
    extra = {"source": "load", "number": number, "$odd.key": [None, True, {"": -(2**63)}], "text": "é\u0000\u2028"}
    fields |= {"padding": "x" * padding} if padding else {}
    return json.dumps(fields | (extra if rng.random() < 0.5 else {"number": number})).encode(), True


class Load:
    """Publishes at `rate` events a second, from a thread, while the `with` lasts, and records it.

    Half of the attempts of unknown outcome are made again with the same id; the other half is left as it is. `name` is
    what the ids begin with; `padding`, in bytes, makes every valid event larger.
    """

    def __init__(
        self, url: str, history: History, *, seed: str, rate: float = 250.0, name: str = "load", padding: int = 0
    ) -> None:
        self._url, self._history, self._rate, self._name, self._padding = url, history, rate, name, padding
        self._rng = random.Random(f"{name} {seed}")
        self._begin = time.monotonic()
        self._sent = 0
        self._nc: Client | None = None
        self._connecting = asyncio.Lock()
        self._closed = asyncio.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load", daemon=True)

    def __enter__(self) -> Self:
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the attempts under way."""
        self._stopped.set()
        self._thread.join(2 * LAST)

    async def _run(self) -> None:
        with contextlib.suppress(TimeoutError):
            publishers = [asyncio.create_task(self._publisher()) for _ in range(PUBLISHERS)]
            await asyncio.to_thread(self._stopped.wait)
            async with asyncio.timeout(LAST):
                await asyncio.gather(*publishers)
        if self._nc:
            await client.close(self._nc)

    async def _publisher(self) -> None:
        while not self._stopped.is_set():
            self._sent += 1
            number = self._sent
            # What was not sent in an outage is not made up for: the rate is a limit.
            self._begin = max(self._begin, time.monotonic() - number / self._rate - 1)
            await asyncio.sleep(self._begin + number / self._rate - time.monotonic())
            content, valid = body(number, self._rng, self._padding)
            await self._send(f"{self._name}@{number}", content, valid=valid, again=self._rng.random() < 0.5)

    async def _send(self, identity: str, content: bytes, *, valid: bool, again: bool) -> None:
        for _ in range(ATTEMPTS):
            begin = time.time()
            result, seq, duplicate = await self._attempt(identity, content)
            operation = Operation(identity, content, begin, time.time(), result, seq, duplicate, valid)
            self._history.record(operation)
            if result == "ok" or not again or self._stopped.is_set():
                return
            await asyncio.sleep(WAIT)

    async def _attempt(self, identity: str, content: bytes) -> tuple[Result, int | None, bool]:
        nc = await self._connection()
        closed = asyncio.ensure_future(self._closed.wait())
        headers = {MSG_ID: identity}
        publish = asyncio.ensure_future(nc.jetstream().publish(SUBJECT, content, PATIENCE, STREAM, headers))
        await asyncio.wait([publish, closed], return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        if not publish.done():  # nats-py would wait for an answer that cannot come any more
            publish.cancel()
        try:
            ack = await publish
        except (NoStreamResponseError, APIError):
            return "failed", None, False
        except (*client.LINK_ERRORS, asyncio.CancelledError):
            return "unknown", None, False
        return "ok", ack.seq, bool(ack.duplicate)

    async def _connection(self) -> Client:
        async with self._connecting:
            while self._nc is None or self._nc.is_closed:
                self._closed.clear()
                try:
                    self._nc = await client.connect(self._url, self._on_closed)
                except client.LINK_ERRORS:
                    await asyncio.sleep(WAIT)
            return self._nc

    async def _on_closed(self) -> None:
        self._closed.set()


def at_each(servers: Sequence[NatsServer], history: History, *, seed: str, rate: float, padding: int = 0) -> ExitStack:
    """Publishers at each of the servers, which stay with it: one that is cut off is asked, too. Ended by a `with`."""
    with ExitStack() as loads:
        for number, server in enumerate(servers):
            name, part = f"load{number or ''}", rate / len(servers)
            loads.enter_context(Load(server.url, history, seed=seed, rate=part, name=name, padding=padding))
        return loads.pop_all()
