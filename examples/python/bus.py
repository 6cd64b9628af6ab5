import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

DRAIN_SECONDS = 2.0

log = logging.getLogger("bus")


def parse(body: bytes) -> datetime | None:
    """The slot of an event, or None if the bytes are no event. A time without an offset is none."""
    try:
        event = json.loads(body)
        if event["event"] != "CRYPTO_UPDATE":
            return None
        slot = datetime.fromisoformat(event["timestamp"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return slot.astimezone(UTC) if slot.tzinfo else None


class Subscriber:
    """Calls `react(slot)` for one event after the other, also after NATS was away, however long."""

    def __init__(self, url: str, subject: str) -> None:
        self._urls = url.split(",")
        self._subject = subject
        self._client: Client | None = None
        self._slots = asyncio.Queue[datetime]()

    @property
    def is_connected(self) -> bool:
        return self._client is not None and self._client.is_connected

    async def run(self, react: Callable[[datetime], Awaitable[None]]) -> None:
        self._client = await nats.connect(
            self._urls,
            user=os.environ.get("NATS_USER"),
            password=os.environ.get("NATS_PASSWORD"),
            max_reconnect_attempts=-1,  # by default nats-py gives up after 60
            ping_interval=5,  # seconds; a dead connection is noticed within 15, by default within 6 minutes
            max_outstanding_pings=2,
            error_cb=self._on_error,
            reconnected_cb=self._on_reconnect,
        )
        await self._client.subscribe(self._subject, cb=self._on_message)
        log.info("[NATS] Subscribed to %s", self._subject)
        while True:
            slot = await self._slots.get()
            try:
                await react(slot)
            except Exception:  # whatever is wrong with one event: the next one may be well
                log.exception("[EVENT] Not stored: %s", slot)
            finally:
                self._slots.task_done()

    async def stop(self) -> None:
        """Take no more events, and return when those that are here are done with."""
        if self._client:
            # A NATS server that hangs answers to nothing. `close` ends the drain; nats-py goes on with a cancelled one.
            await asyncio.wait([asyncio.create_task(self._drain(self._client))], timeout=DRAIN_SECONDS)
            await self._client.close()
        await self._slots.join()

    async def _drain(self, client: Client) -> None:
        with suppress(nats.errors.Error):  # without a connection nothing more comes
            await client.drain()

    async def _on_message(self, message: Msg) -> None:
        if slot := parse(message.data):
            self._slots.put_nowait(slot)
        else:
            log.warning("[EVENT] No event: %d bytes", len(message.data))

    async def _on_error(self, error: Exception) -> None:
        log.warning("[NATS] %s", str(error) or type(error).__name__)

    async def _on_reconnect(self) -> None:
        log.info("[NATS] Connected again")
