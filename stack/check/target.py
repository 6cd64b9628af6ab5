"""The stack that is checked, and the probe: the event that it is tried with."""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, Field

from api_stub.config import StoreSettings
from api_stub.errors import MissingError, StoreUnavailableError
from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.bus import event, trace
from crypto_updates.bus.config import BusSettings
from crypto_updates.bus.connection import LINK_ERRORS, Connection
from crypto_updates.bus.event import Event
from crypto_updates.bus.stream import PROBE, STREAM
from crypto_updates.clock.timetable import Timetable
from crypto_updates.local.errors import StackError
from worker.market.network import http_url

# Takes body, headers and subject, returns the sequence in the stream and whether the stream had the event already.
Publish = Callable[[bytes, dict[str, str], str], Awaitable[tuple[int | None, bool]]]

# The probe's feed and source, by which readers know it.
NAME = "verify"
POLL_SECONDS = 0.005
# A probe this old was left by a killed verification. A younger one may belong to another that runs now.
ABANDONED_AGE = timedelta(minutes=1)
ARRIVAL_SECONDS = 6.0
REMOVAL_SECONDS = 2.0

API_LOG = "see the API stub's log (docker compose logs api_stub)"


class FailedError(StackError):
    """The check fails."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


class SkippedError(StackError):
    """The check needs what an earlier one did not find."""


class CheckSettings(Timetable, StoreSettings, BusSettings):
    api_url: Annotated[str, AfterValidator(http_url)] = Field(
        "http://127.0.0.1:8080", repr=False, description="http://host:8080 or https://host"
    )

    def quiet(self) -> None:
        """Keep the log out of the command's output, unless LOG_LEVEL asks for it."""
        if self.log_level != "debug":
            logging.disable(logging.ERROR)


class Database(NamedTuple):
    reader: Reader
    store: Store


@dataclass
class Stack:
    """`absent`: what publishing needs and NATS does not have. `left`: probes that could not be removed, and why."""

    settings: CheckSettings
    closing: AsyncExitStack
    connection: Connection | None = None
    database: Database | None = None
    absent: str | None = None
    delivers: bool = False
    left: list[str] = field(default_factory=list)

    def nats(self) -> Connection:
        if self.connection is None:
            raise SkippedError("NATS is not connected")
        return self.connection

    def publisher(self) -> Connection:
        connection = self.nats()
        if self.absent:
            raise SkippedError(self.absent)
        return connection

    def mongo(self) -> Database:
        if self.database is None:
            raise SkippedError("MongoDB is not connected")
        return self.database

    async def send(self, publish: Publish) -> float:
        """Publish an event, wait for it in MongoDB, and remove it. Return the seconds. Raises FailedError."""
        self.mongo()  # nothing is published when nobody can look for it
        at = datetime.now(UTC).replace(microsecond=0)
        # Two verifications may begin within the same second.
        identity = f"{event.identity(NAME, at)}#{secrets.token_hex(4)}"
        body = event.encode(Event(timestamp=at, source=NAME))
        headers = event.headers(NAME, at, identity, trace.fresh())
        begin = time.perf_counter()
        publishing = asyncio.ensure_future(publish(body, headers, PROBE))
        try:
            # A stop in this moment must not keep the sequence of what the stream has taken from being known.
            await asyncio.shield(publishing)
            await self._arrival(identity, begin + ARRIVAL_SECONDS)
            return time.perf_counter() - begin
        finally:
            await self._remove(identity, await _sequence(publishing), at)

    async def _arrival(self, identity: str, deadline: float) -> None:
        while time.perf_counter() < deadline:
            with suppress(MissingError):
                await self.mongo().reader.event(identity)
                return
            await asyncio.sleep(POLL_SECONDS)
        raise FailedError(
            f"the event {identity} was not in MongoDB {ARRIVAL_SECONDS:.0f} s after it was published",
            f"{API_LOG}; NATS_URL, MONGO_URL and MONGO_DB must be the API stub's",
        )

    async def _remove(self, identity: str, seq: int | None, at: datetime) -> None:
        """Remove the probe, and what killed verifications left.

        The stream comes first, so that no API stub stores the event again after MongoDB has removed it.
        """
        if seq is not None:
            try:
                # Not `timeout`, which in Python 3.11 gives a task that was cancelled no TimeoutError.
                await asyncio.wait_for(self.nats().delete(seq), REMOVAL_SECONDS)
            except LINK_ERRORS as error:
                why = str(error) or "no answer; NATS_USER may not have the right"
                self.left.append(f"{identity} in the stream {STREAM}, sequence {seq}: {why}")
        try:
            await self.mongo().store.remove_probes(identity, NAME, at - ABANDONED_AGE)
        except StoreUnavailableError as error:
            self.left.append(f"{identity} in the collection events: {error}")


async def _sequence(publishing: asyncio.Future[tuple[int | None, bool]]) -> int | None:
    """Where the stream has what was published; None if it is not known to have it."""
    done, _ = await asyncio.wait([publishing], timeout=REMOVAL_SECONDS)
    if not done:
        publishing.cancel()
    return None if not done or publishing.exception() else publishing.result()[0]
