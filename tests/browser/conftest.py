"""Each test has its own stack, and its page in Chromium, which may neither complain nor ask another host."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright

from crypto_updates.local.servers import Mongod
from tests import machine
from tests.browser.site import Site
from tests.browser.visit import Visit
from tests.e2e.conftest import Stack, stack
from tests.support import connect

__all__ = ["stack"]
# No name resolves, so no request leaves this machine, even one that a test does not see.
ARGUMENTS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


@pytest.fixture(scope="session")
def chromium() -> str:
    return machine.chromium()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium: str) -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest.fixture
def schedule() -> str | None:
    """The stack's SCHEDULE, if it is not the site's own. A test can parametrize it."""
    return None


@pytest_asyncio.fixture(loop_scope="session")
async def site(stack: Stack, mongod: Mongod, schedule: str | None) -> AsyncIterator[Site]:
    """A provisioned stack with an API stub and without events."""
    assert stack.run("stack", "provision").wait(30) == 0
    site = Site(stack, mongod, schedule)
    async with await connect(stack.nats.url, max_reconnect_attempts=-1, reconnect_time_wait=0.2) as client:
        site.client = client
        await site.start()
        yield site
        site.thaw()  # a frozen API stub would not get SIGTERM


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """Opens the site's pages. At the end of the test, none of them may have had an error."""
    async with AsyncExitStack() as closing:
        visit = Visit(browser, site.url, closing)
        yield visit
    assert visit.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def page(visit: Visit) -> Page:
    """The page, open and ready."""
    return await visit("/")
