"""Takes the page's pictures for docs/: a stack like the demo's with a day of history, two minutes after its start.

    python -m tests.browser.screenshots [--folder docs] [--seconds 120]

Two slots of the history are missing and one is late, so that the pictures show what that looks like. One more picture
shows the prices of a coin that is not updated any more.
"""

import argparse
import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Browser, sync_playwright
from pymongo import AsyncMongoClient

from crypto_updates.bus.event import identity
from crypto_updates.local import guard, ports
from crypto_updates.local.servers import Mongod, NatsServer
from stack import console, services
from tests import machine
from worker.market.simulated import Simulated

COINS = ("bitcoin", "ethereum", "polygon-ecosystem-token")
# A coin that was frozen, and that the worker does not follow any more: its price and its time stay the same.
FROZEN = {"coin": "matic-network", "symbol": "matic", "price": 0.1153, "market_cap": None, "change_24h": None}
FROZEN |= {"currency": "usd", "updated_at": "2026-02-03T07:15:12Z"}
STEP = timedelta(seconds=5)
# Counted back from the newest slot.
MISSING_SLOTS, LATE_SLOT = (151, 152), 76
SHOTS: dict[str, dict[str, Any]] = {
    "page-light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 1000}},
    "page-dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 1000}},
    "page-phone": {"color_scheme": "light", "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2},
}
MAX_PICTURE_BYTES = 250_000


async def stored(newest: datetime, count: int) -> AsyncIterator[dict[str, Any]]:
    market = Simulated(coins=COINS, currency="usd")
    for number in range(count):
        if number in MISSING_SLOTS:
            continue
        slot = newest - number * STEP
        data = [*msgspec.to_builtins(await market.fetch(slot, 1)), FROZEN]
        lag = timedelta(seconds=4.8 if number == LATE_SLOT else 0.02)
        about = {"event": "CRYPTO_UPDATE", "timestamp": slot, "source": "simulated", "data": data, "fetched_at": slot}
        yield {"_id": identity("crypto", slot)} | about | {"received_at": slot + lag, "stream_seq": count - number}


async def fill(url: str) -> None:
    """Store a day of events, up to the newest slot."""
    now = datetime.now(UTC)
    newest = now - (now - datetime.fromtimestamp(0, UTC)) % STEP
    events = [event async for event in stored(newest, timedelta(days=1) // STEP)]
    async with AsyncMongoClient[dict[str, Any]](url, directConnection=True) as client:
        await client.crypto.events.insert_many(events, ordered=False)


def shoot(browser: Browser, url: str, folder: Path, seconds: float) -> None:
    """Keep all pages open for so long, because they show rates of the last minute."""
    pages = {name: browser.new_page(locale="en-GB", timezone_id="UTC", **shot) for name, shot in SHOTS.items()}
    for page in pages.values():
        page.goto(url)
    time.sleep(seconds)
    for name, page in pages.items():
        latest = page.get_attribute("#events [data-id]", "data-id")
        # The picture shows an event on its way.
        page.wait_for_selector(f"#events [data-id]:first-child:not([data-id='{latest}'])", timeout=15_000)
        page.wait_for_timeout(700)
        keep(folder / f"{name}.png", page.screenshot())
    page = pages["page-light"]
    page.select_option("#coins", str(FROZEN["coin"]))
    page.wait_for_selector("#stale li")
    page.wait_for_timeout(700)
    keep(folder / "page-frozen.png", page.locator("section:has(#chart)").screenshot())


def keep(path: Path, picture: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
    size = len(picture)
    console.say(f"{path}: {size} bytes" + (", which is too much" if size > MAX_PICTURE_BYTES else ""))


def run(folder: Path, seconds: float) -> None:
    with ExitStack() as closing:
        data = closing.enter_context(guard.folder())
        mongod, server = closing.enter_context(Mongod()), closing.enter_context(NatsServer())
        environ = os.environ | services.defaults(data) | {"HTTP_PORT": str(ports.free()), "LOG_LEVEL": "warning"}
        environ |= {
            "MONGO_URL": mongod.url,
            "NATS_URL": server.url,
            "MARKET_SOURCE": "simulated",
            "COINS": ",".join(COINS),
        }
        services.provision(environ)
        asyncio.run(fill(mongod.url))
        for name in services.NAMES:
            closing.callback(services.start(name, environ).stop)
        address = f"127.0.0.1:{environ['HTTP_PORT']}"
        while not services.is_ready(address):
            time.sleep(0.1)
        binary = machine.chromium()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
            shoot(browser, f"http://{address}/", folder, seconds)
            browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    parser.add_argument("--seconds", type=float, default=120)
    options = parser.parse_args()
    run(options.folder, options.seconds)


if __name__ == "__main__":
    main()
