"""The events that the benchmarks store: three quotes each, and the same ones whoever asks."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import nats

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
COINS = (("bitcoin", "btc", 43_000.5), ("ethereum", "eth", 2_300.25), ("polygon-ecosystem-token", "pol", 0.25))
# Publishes that are on their way at once.
AT_ONCE = 1000


def slot(number: int) -> datetime:
    return FIRST + timedelta(seconds=number)


def identity(number: int) -> str:
    return f"bench@{number}"


def event(number: int) -> dict[str, Any]:
    at = slot(number).strftime("%Y-%m-%dT%H:%M:%SZ")
    quotes = [
        {
            "coin": coin,
            "symbol": symbol,
            "price": price + number % 100,
            "market_cap": price * 1e7,
            "change_24h": number % 10 - 5.25,
            "currency": "usd",
            "updated_at": at,
        }
        for coin, symbol, price in COINS
    ]
    return {"event": "CRYPTO_UPDATE", "timestamp": at, "source": "simulated", "data": quotes, "fetched_at": at}


def body(number: int) -> bytes:
    return json.dumps(event(number), separators=(",", ":")).encode()


def document(number: int) -> dict[str, Any]:
    """As the API stub stores it."""
    own = {"_id": identity(number), "received_at": slot(number), "stream_seq": number + 1}
    return event(number) | {"timestamp": slot(number)} | own


async def fill(url: str, count: int) -> None:
    """Have the stream hold so many events."""
    client = await nats.connect(url)
    js = client.jetstream(publish_async_max_pending=AT_ONCE)
    for number in range(count):
        await js.publish_async("crypto.updates", body(number), headers={"Nats-Msg-Id": identity(number)})
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    await js.publish_async_completed()
    await client.close()
