"""Real tabs of one browser window: the one in front is visible, the others are hidden.

Playwright tells each of its own pages that it is visible. These tabs are opened and spoken to through the browser's
DevTools session instead, so that Chromium itself decides.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from typing import Any

from playwright.async_api import Browser, CDPSession

ANSWER_SECONDS = 20.0


class LeftError(Exception):
    """The page was left before it answered."""


class Tab:
    def __init__(self, window: Window, target: str, session: str) -> None:
        self._window = window
        self._target = target
        self._session = session

    async def front(self) -> None:
        """Bring the tab to the front, which hides the one that was there."""
        await self._window.devtools.send("Target.activateTarget", {"targetId": self._target})
        assert await self.comes("!document.hidden")

    async def evaluate(self, expression: str) -> Any:  # noqa: ANN401 - whatever the expression gives
        return await self._window.evaluate(self._session, expression)

    async def leave(self, how: str) -> None:
        """Go to another page, which is not there yet when this returns."""
        with contextlib.suppress(LeftError):
            await self.evaluate(how)

    async def comes(self, condition: str, within: float = 30.0) -> bool:
        """True as soon as the JavaScript expression holds, False if it has not by then (seconds)."""
        deadline = time.monotonic() + within
        while not await self._holds(condition):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _holds(self, condition: str) -> bool:
        try:
            return bool(await self.evaluate(f"Boolean({condition})"))
        except LeftError:
            return False


class Window:
    def __init__(self, devtools: CDPSession, context: str) -> None:
        self.devtools = devtools
        self._context = context
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        devtools.on("Target.receivedMessageFromTarget", self._answered)

    @classmethod
    async def open(cls, browser: Browser) -> Window:
        devtools = await browser.new_browser_cdp_session()
        return cls(devtools, (await devtools.send("Target.createBrowserContext"))["browserContextId"])

    async def close(self) -> None:
        await self.devtools.send("Target.disposeBrowserContext", {"browserContextId": self._context})
        await self.devtools.detach()

    async def tab(self, url: str, *, background: bool = False) -> Tab:
        """Open a tab, in front of the others or behind them."""
        about = {"url": url, "browserContextId": self._context, "background": background}
        target = (await self.devtools.send("Target.createTarget", about))["targetId"]
        session = (await self.devtools.send("Target.attachToTarget", {"targetId": target}))["sessionId"]
        return Tab(self, target, session)

    async def evaluate(self, session: str, expression: str) -> Any:  # noqa: ANN401 - whatever the expression gives
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        request = {"id": number, "method": "Runtime.evaluate"}
        message = json.dumps(request | {"params": {"expression": expression, "returnByValue": True}})
        await self.devtools.send("Target.sendMessageToTarget", {"sessionId": session, "message": message})
        async with asyncio.timeout(ANSWER_SECONDS):
            answer = await self._answers[number]
        if "error" in answer:
            raise LeftError(answer["error"]["message"])
        assert "exceptionDetails" not in answer["result"], answer
        return answer["result"]["result"].get("value")

    def _answered(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if waiting := self._answers.pop(message.get("id"), None):
            waiting.set_result(message)
