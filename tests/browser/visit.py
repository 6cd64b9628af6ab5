"""Opens pages of the site, and keeps what they complain of and what they ask of other hosts."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request

# What Chromium itself logs when a server is not there.
OUTAGE = ("Failed to load resource: net::", "Failed to load resource: the server responded with a status of 503")


class Visit:
    """Call it with a path and options for the browser context. It returns the page when each part shows data."""

    def __init__(self, browser: Browser, url: str, closing: AsyncExitStack) -> None:
        self._browser = browser
        self._url = url
        self._closing = closing
        self.complaints: list[str] = []
        # Set to True by a test that breaks something on purpose.
        self.outage = False

    async def __call__(self, path: str = "/", **options: Any) -> Page:  # noqa: ANN401 - playwright's own
        context = await self._browser.new_context(**options)
        self._closing.push_async_callback(context.close)
        page = await context.new_page()
        page.on("console", self._said)
        page.on("pageerror", self._raised)
        page.on("request", self._asked)
        await page.goto(self._url + path)
        if path == "/":
            await page.wait_for_selector("body[data-ready]", timeout=60_000)
        return page

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (self.outage and message.text.startswith(OUTAGE)):
            self.complaints.append(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _raised(self, error: Error) -> None:
        self.complaints.append(f"uncaught: {error.stack or error}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self._url + "/", "data:", "blob:")):
            self.complaints.append(f"a request to another host: {urlsplit(request.url).netloc}: {request.url[:200]}")


async def comes(page: Page, condition: str, within: float = 30.0) -> bool:
    """True as soon as the JavaScript expression holds, False if it has not by then (seconds).

    Playwright's own way, `wait_for_function`, needs an `eval` that the page's policy rightly forbids.
    """
    deadline = time.monotonic() + within
    while not await page.evaluate(f"Boolean({condition})"):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True
