"""The page works below a proxy's path, as with `location /crypto/ { proxy_pass http://127.0.0.1:8080/; }` of nginx."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.browser.site import Site, quote
from tests.browser.visit import Visit, comes
from tests.support import listening

pytestmark = pytest.mark.asyncio(loop_scope="session")
PREFIX = "/crypto"


class Proxy:
    """Passes on what is asked below PREFIX, without PREFIX, and one request a connection."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, rest = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        if not path.startswith(PREFIX.encode() + b"/"):
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        line, headers = rest.split(b"\r\n", 1)
        request = b" ".join((method, path.removeprefix(PREFIX.encode()), line))
        answer, server = await asyncio.open_connection("127.0.0.1", self._port)
        with contextlib.closing(server):
            server.write(request + b"\r\nConnection: close\r\n")
            server.write(headers.replace(b"Connection: keep-alive\r\n", b""))
            # The page leaves its event stream, on which nothing may come for a while.
            ways = [asyncio.create_task(self._copy(answer, writer)), asyncio.create_task(reader.read())]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()


@pytest_asyncio.fixture(loop_scope="session")
async def below(browser: Browser, site: Site) -> AsyncIterator[Visit]:
    """Opens pages through the proxy. Whatever they ask beside PREFIX is a complaint."""
    async with listening(Proxy(site.port).pass_on) as port, AsyncExitStack() as closing:
        visit = Visit(browser, f"http://127.0.0.1:{port}{PREFIX}", closing)
        yield visit
    assert visit.complaints == []


async def test_the_page_is_live_and_leads_to_the_documentation(site: Site, below: Visit) -> None:
    page = await below("/")
    name = await site.publish(site.newest, quote("bitcoin", 50_000))
    await page.wait_for_selector(f"#events [data-id='{name}']")
    assert await comes(page, "document.querySelector('#price').textContent.includes('50,000')")
    await page.wait_for_selector("#station-mongo[data-state=ok]")
    assert await comes(page, "document.querySelectorAll('#strip [data-slot]').length > 90")
    await page.click("nav a")
    await page.wait_for_selector(".opblock")
    assert page.url.endswith(f"{PREFIX}/docs")


@pytest.mark.parametrize("path", ["/docs", "/docs/"])
async def test_a_request_can_be_tried_out(below: Visit, path: str) -> None:
    page = await below(path)
    await page.click(".opblock-summary-path[data-path='/coins']")
    await page.click("text=Try it out")
    await page.click("button.execute")
    await page.wait_for_selector(".live-responses-table")
    assert '"coins": []' in await page.inner_text(".live-responses-table .highlight-code")
    assert f"{PREFIX}/coins" in await page.inner_text(".request-url")
