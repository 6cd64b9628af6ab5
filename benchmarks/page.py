"""How soon the page shows its first data, over 100,000 stored events, in headless Chromium.

    python -m benchmarks.page [--events 100000] [--visits 5] [--json FILE]

Each visit has a cache of its own, empty. Times are milliseconds from the start of the navigation: first_data is when
each part of the page had drawn its first data (the page's own mark), paint the browser's first contentful paint,
last_file when the last of the page's own files was there, before which no data could be drawn.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from benchmarks.api import fill
from crypto_updates.local import guard, ports
from crypto_updates.local.process import Process
from crypto_updates.local.servers import Mongod, NatsServer
from stack import console, services

BINARIES = ("chromium", "chromium-browser", "google-chrome")
TIMES = """() => {
    const at = (entry) => entry?.startTime ?? null;
    return {
        first_data: at(performance.getEntriesByName("first-data")[0]),
        paint: at(performance.getEntriesByName("first-contentful-paint")[0]),
        files: performance.getEntriesByType("resource").filter(one => one.name.includes("/page/")).length,
        last_file: Math.max(...performance.getEntriesByType("resource")
            .filter(one => one.name.includes("/page/")).map(one => one.responseEnd)),
    };
}"""


def visit(browser: Browser, url: str) -> dict[str, float]:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(url)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        page.wait_for_timeout(200)
        return {name: round(value, 1) for name, value in page.evaluate(TIMES).items()}


def measure(url: str, visits: int) -> dict[str, Any]:
    binary = next(filter(None, map(shutil.which, BINARIES)), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        # The first one also warms up the browser and the API stub, and counts all the same.
        each = [visit(browser, url) for _ in range(visits)]
        browser.close()
    ordered = sorted(one["first_data"] for one in each)
    return {"visits": each, "first_data_ms": {"median": statistics.median(ordered), "worst": ordered[-1]}}


def run(events: int, visits: int) -> dict[str, Any]:
    with ExitStack() as closing:
        data = closing.enter_context(guard.folder())
        mongod, server = closing.enter_context(Mongod()), closing.enter_context(NatsServer())
        port = ports.free()
        environ = os.environ | services.defaults(data) | {"HTTP_PORT": str(port), "LOG_LEVEL": "warning"}
        environ |= {"MONGO_URL": mongod.url, "NATS_URL": server.url, "SCHEDULE": "*/15 * * * *"}
        services.provision(environ)
        fill(mongod.url, events)
        stub = Process([sys.executable, "-m", "api_stub"], env=environ, cwd=data)
        closing.callback(stub.stop)
        while not services.is_ready(f"127.0.0.1:{port}"):
            time.sleep(0.1)
        return {"events": events} | measure(f"http://127.0.0.1:{port}/", visits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--visits", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = run(options.events, options.visits)
    for name, figure in figures.items():
        console.say(f"{name:14} {figure}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
