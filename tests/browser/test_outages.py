"""The page names what is down, each in its own words, and recovers by itself."""

import asyncio
from datetime import timedelta

import pytest
from playwright.async_api import Page

from crypto_updates.local.servers import Mongod
from tests.browser.site import Site, now, quote
from tests.browser.visit import Visit, comes

# The API stub pauses between its own attempts too.
TOLD_MS, RECOVERED_MS = 15_000, 30_000
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]


@pytest.fixture(autouse=True)
def _outage(visit: Visit) -> None:
    """These tests break something on purpose."""
    visit.outage = True


async def told(page: Page, *notices: str) -> None:
    for name in notices:
        await page.wait_for_selector(f"#notices [data-notice={name}]", state="visible", timeout=TOLD_MS)


async def recovered(page: Page) -> None:
    """No notice is left."""
    assert await comes(page, "!document.querySelector('#notices [data-notice]')", RECOVERED_MS / 1000), (
        await page.inner_text("#notices")
    )


async def shows(page: Page, name: str) -> None:
    await page.wait_for_selector(f"#events [data-id='{name}']", timeout=RECOVERED_MS)


async def test_a_stopped_nats_shows_and_recovers(site: Site, page: Page) -> None:
    await page.wait_for_selector("#station-nats[data-state=ok]", timeout=TOLD_MS)
    site.stack.nats.stop()
    await told(page, "nats")
    await page.wait_for_selector("#station-nats[data-state=problem]", timeout=TOLD_MS)
    assert len(await page.inner_text("#station-nats .state")) > 5
    await page.wait_for_selector("#station-mongo[data-state=ok]")
    await asyncio.to_thread(site.stack.nats.start)
    await recovered(page)
    await page.wait_for_selector("#station-nats[data-state=ok]")
    await site.reconnected()
    await shows(page, await site.publish(site.newest, quote("bitcoin", 1)))


async def test_a_killed_mongod_shows_and_recovers(site: Site, page: Page, mongod: Mongod) -> None:
    await page.wait_for_selector("#station-mongo[data-state=ok]", timeout=TOLD_MS)
    mongod.kill()
    try:
        await told(page, "mongo")
        await page.wait_for_selector("#station-mongo[data-state=problem]", timeout=TOLD_MS)
        await page.wait_for_selector("#station-nats[data-state=ok]")
        meanwhile = await site.publish(site.newest, quote("bitcoin", 1))
    finally:
        await asyncio.to_thread(mongod.start)
    await recovered(page)
    await shows(page, meanwhile)
    await shows(page, await site.publish(now(), quote("bitcoin", 2)))


async def test_a_killed_api_stub_shows_and_recovers_with_what_came_meanwhile(site: Site, page: Page) -> None:
    before = await site.publish(site.newest, quote("bitcoin", 1))
    await shows(page, before)
    site.stub.kill()
    site.stub.wait()
    await told(page, "stream")
    meanwhile = await site.publish(now() - timedelta(seconds=5), quote("bitcoin", 2))
    await site.start()
    await recovered(page)
    await shows(page, meanwhile)
    await shows(page, before)
    await shows(page, await site.publish(now(), quote("bitcoin", 3)))


async def test_an_api_stub_that_is_gone_is_named(site: Site, page: Page) -> None:
    site.stub.stop()
    await told(page, "api")
    for station in ("worker", "nats", "api-stub", "mongo"):
        assert await page.get_attribute(f"#station-{station}", "data-state") in ("unknown", "problem")
    await site.start()
    await recovered(page)


async def test_a_page_that_is_offline_says_so_and_recovers(site: Site, page: Page) -> None:
    await page.context.set_offline(True)
    await told(page, "offline")
    meanwhile = await site.publish(site.newest, quote("bitcoin", 1))
    await page.context.set_offline(False)
    await recovered(page)
    await shows(page, meanwhile)
    await shows(page, await site.publish(now(), quote("bitcoin", 2)))


async def test_a_stream_that_has_fallen_silent_is_made_anew(site: Site, page: Page) -> None:
    await page.wait_for_selector("#station-nats[data-state=ok]", timeout=TOLD_MS)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    site.freeze()
    try:
        await told(page, "stream")
    finally:
        site.thaw()
    await recovered(page)
    assert any(url.endswith("/events/stream") for url in requests)
    await shows(page, await site.publish(site.newest, quote("bitcoin", 1)))
