"""A page that is hidden rests, so that any number of tabs work, and catches up when it is looked at again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.site import Site, quote
from tests.browser.tabs import Tab, Window
from tests.support import HANG_SECONDS, soon

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]
READY = "document.body?.dataset.ready !== undefined"
STREAMING = "document.querySelector('#station-nats')?.dataset.state === 'ok'"
IDS = "[...document.querySelectorAll('#events [data-id]')].map(item => item.dataset.id)"
# Every notice that was ever shown.
KEEP_NOTICES = """
    window.notices = [];
    new MutationObserver(changes => {
        for (const change of changes) for (const node of change.addedNodes) notices.push(node.dataset.notice);
    }).observe(document.getElementById("notices"), { childList: true });
"""


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser, site: Site) -> AsyncIterator[Window]:  # noqa: ARG001 - it ends before the site does
    window = await Window.open(browser)
    yield window
    await window.close()


async def streams(site: Site, count: int) -> bool:
    """True as soon as the API stub has so many open event streams."""

    def are_open() -> bool:
        lines = httpx.get(f"{site.url}/metrics", timeout=HANG_SECONDS, trust_env=False).text.splitlines()
        return float(next(line for line in lines if line.startswith("crypto_stream_clients ")).split()[1]) == count

    return await soon(are_open)


async def shows(tab: Tab, name: str) -> bool:
    return await tab.comes(f"{IDS}.includes('{name}')")


async def test_ten_tabs_work_and_only_the_one_in_front_holds_a_connection(site: Site, window: Window) -> None:
    site.fill(3)
    tabs = [await window.tab(site.url, background=number % 2 == 1) for number in range(10)]
    for tab in tabs:
        await tab.front()
        assert await tab.comes(f"{READY} && {STREAMING}")
        assert await streams(site, 1)
    assert await shows(tab, await site.publish(site.newest, quote("bitcoin", 1)))


async def test_a_tab_that_was_hidden_catches_up_and_shows_nothing_twice(site: Site, window: Window) -> None:
    slots = site.fill(3, site.newest - timedelta(minutes=15))
    tab = await window.tab(site.url)
    assert await tab.comes(f"{READY} && {STREAMING}")
    await tab.evaluate(KEEP_NOTICES)
    other = await window.tab("about:blank")
    assert await streams(site, 0)
    names = [await site.publish(slots[0] + timedelta(seconds=n + 1), quote("bitcoin", 70_000 + n)) for n in range(4)]
    await site.send(b'{"event":"CRYPTO_UPDATE","timestamp":"soon"}')
    await site.stored(7)
    assert await tab.evaluate(f"document.hidden && {IDS}.length === 3")
    await tab.front()
    for name in names:
        assert await shows(tab, name)
    assert await tab.comes("document.querySelector('#price').textContent.includes('70,003')")
    assert await tab.comes("document.querySelectorAll('#letters [data-id]').length === 1")
    last = await site.publish(site.newest, quote("bitcoin", 5))
    assert await shows(tab, last)
    assert await tab.evaluate(f"new Set({IDS}).size === {IDS}.length && {IDS}.length === 8")
    assert await tab.evaluate("notices") == []
    assert await other.evaluate("document.hidden")


async def test_a_hidden_tab_does_not_notice_a_restart_of_the_api_stub(site: Site, window: Window) -> None:
    tab = await window.tab(site.url)
    assert await tab.comes(f"{READY} && {STREAMING}")
    await tab.evaluate(KEEP_NOTICES)
    await window.tab("about:blank")
    assert await streams(site, 0)
    await asyncio.to_thread(site.stub.stop)
    name = await site.publish(site.newest, quote("bitcoin", 1))
    await site.start()
    await site.stored(1)
    await tab.front()
    assert await shows(tab, name)
    assert await tab.evaluate("notices") == []


async def test_a_hidden_page_runs_no_timer(site: Site, window: Window) -> None:
    tab = await window.tab(site.url)
    assert await tab.comes(f"{READY} && {STREAMING}")
    await tab.evaluate(
        """window.writes = 0;
        new MutationObserver(() => writes++).observe(countdown, { childList: true, characterData: true, subtree: true })
        """
    )
    assert await tab.comes("writes > 1")
    await window.tab("about:blank")
    assert await tab.comes("document.hidden")
    written = await tab.evaluate("writes")
    await asyncio.sleep(3)
    assert await tab.evaluate("writes") == written
    await tab.front()
    assert await tab.comes(f"writes > {written}")


async def test_a_page_that_is_left_and_shown_again_goes_on(site: Site, window: Window) -> None:
    tab = await window.tab(site.url)
    assert await tab.comes(f"{READY} && {STREAMING}")
    await tab.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    assert await streams(site, 0)
    name = await site.publish(site.newest, quote("bitcoin", 1))
    await site.stored(1)
    await tab.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    assert await streams(site, 1)
    assert await shows(tab, name)


async def test_going_back_to_the_page_shows_it_live(site: Site, window: Window) -> None:
    tab = await window.tab(site.url)
    assert await tab.comes(f"{READY} && {STREAMING}")
    await tab.leave("location.href = '/docs'")
    assert await tab.comes("location.pathname === '/docs' && document.querySelector('.opblock')")
    assert await streams(site, 0)
    await tab.leave("history.back()")
    assert await tab.comes(f"location.pathname === '/' && {READY}")
    assert await shows(tab, await site.publish(site.newest, quote("bitcoin", 1)))
