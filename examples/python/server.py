"""An API server: it stores the prices of coins when a CRYPTO_UPDATE event comes, and serves /stats and /deviation."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import uvicorn
from bus import Subscriber
from fastapi import FastAPI, HTTPException, Query, Response
from market import Market
from stats import Stats

# Docker kills a container 10 seconds after SIGTERM.
STOP_SECONDS = 8.0

log = logging.getLogger("server")
stats = Stats(os.environ.get("MONGO_URL", "mongodb://localhost:27017/crypto"))
market = Market(
    os.environ.get("COINGECKO_URL", "https://api.coingecko.com/api/v3"),
    os.environ.get("COINS", "bitcoin,ethereum,polygon-ecosystem-token"),
)
subscriber = Subscriber(
    os.environ.get("NATS_URL", "nats://localhost:4222"),
    os.environ.get("SUBJECT", "crypto.updates"),
)


async def react(slot: datetime) -> None:
    await stats.store(slot, await market.quotes())
    log.info("[STATS] Stored the prices of %s", slot)


def end_if_failed(task: asyncio.Task[None]) -> None:
    """Without events the server is of no use: it ends, and who started it may start it again."""
    if not task.cancelled() and (error := task.exception()):
        log.error("[STOP] %s", error)
        app.state.exit_status = 1
        signal.raise_signal(signal.SIGTERM)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(work) for work in (subscriber.run(react), stats.index())]
    for task in tasks:
        task.add_done_callback(end_if_failed)
    yield
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await subscriber.stop()
            await stats.close()
    except TimeoutError:
        log.error("[STOP] Some events are not stored")
    for task in tasks:
        task.cancel()


app = FastAPI(lifespan=lifespan)
app.state.exit_status = 0
Coin = Annotated[str, Query()]


@app.get("/stats")
async def latest(coin: Coin) -> dict[str, Any]:
    found = await stats.latest(coin)
    if found is None:
        raise HTTPException(404, f"no price of the coin {coin}")
    return {"price": found["price"], "marketCap": found["marketCap"], "24hChange": found["change24h"]}


@app.get("/deviation")
async def deviation(coin: Coin) -> dict[str, float]:
    found = await stats.deviation(coin)
    if found is None:
        raise HTTPException(404, f"no price of the coin {coin}")
    return {"deviation": round(found, 2)}


@app.get("/health")
async def health(response: Response) -> dict[str, bool]:
    told = {"nats": subscriber.is_connected, "mongodb": await stats.is_connected()}
    response.status_code = 200 if all(told.values()) else 503
    return told


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # uvicorn stops on SIGTERM, and then sends it once more, which would be the exit status.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(app.state.exit_status))
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "3000"))
    uvicorn.run(app, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
