"""An answer of the API that was under way while an event came."""

import asyncio
from datetime import timedelta

import pytest
from playwright.async_api import APIResponse, Route

from tests.browser.site import Site, quote
from tests.browser.visit import Visit, comes
from tests.support import soon

pytestmark = pytest.mark.asyncio(loop_scope="session")
LIVE = "document.querySelector('#station-nats').dataset.state === 'ok'"
POINTS = "Number(document.querySelector('#chart').dataset.points)"


class Held:
    """The first answer of each kind is read, and held until `released`. Later ones wait until `over`."""

    def __init__(self) -> None:
        self.released, self.over = asyncio.Event(), asyncio.Event()
        self.read: dict[str, APIResponse] = {}

    async def hold(self, route: Route) -> None:
        url = route.request.url
        kind = url.partition("?")[0] + (" of a coin" if "coin=" in url else "")
        if kind in self.read:
            await self.over.wait()
            await route.abort()
            return
        self.read[kind] = answer = await route.fetch()
        await self.released.wait()
        await route.fulfill(response=answer)


async def test_an_answer_from_before_an_event_does_not_take_it_away(site: Site, visit: Visit) -> None:
    slots = site.fill(3)
    page = await visit("/")
    visit.outage = True  # of the answers that are never given
    held = Held()
    for path in ("events", "prices"):
        await page.route(f"**/{path}?*", held.hold)
    # A page that was left and comes back opens its stream anew, and asks for all.
    await page.evaluate("document.querySelector('#station-nats').dataset.state = ''")
    await page.evaluate("dispatchEvent(new Event('pagehide')); dispatchEvent(new Event('pageshow'))")
    assert await comes(page, LIVE)
    assert await soon(lambda: len(held.read) == 3)
    name = await site.publish(slots[0] + timedelta(seconds=1), quote("bitcoin", 51_001))
    await page.wait_for_selector(f"#events [data-id='{name}']")
    assert await comes(page, f"{POINTS} === 4")
    async with page.expect_event("requestfinished", lambda request: "points=" in request.url):
        held.released.set()
    assert not await comes(page, f"{POINTS} !== 4 || !document.querySelector(\"#events [data-id='{name}']\")", 1)
    assert "51,001" in await page.inner_text("#price")
    held.over.set()
    await page.unroute_all(behavior="wait")
