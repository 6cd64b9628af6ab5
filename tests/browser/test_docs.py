"""/docs shows Swagger UI under the page's Content-Security-Policy."""

import pytest

from tests.browser.visit import Visit, comes

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_it_shows_every_path_of_the_api(visit: Visit) -> None:
    page = await visit("/docs")
    await page.wait_for_selector(".opblock")
    paths = await page.evaluate("fetch('/openapi.json').then(r => r.json()).then(o => Object.keys(o.paths).length)")
    assert await page.locator(".opblock").count() == paths


async def test_a_request_can_be_tried_out(visit: Visit) -> None:
    page = await visit("/docs")
    await page.click(".opblock-summary-path[data-path='/coins']")
    await page.click("text=Try it out")
    await page.click("button.execute")
    await page.wait_for_selector(".live-responses-table")
    assert '"coins": []' in await page.inner_text(".live-responses-table .highlight-code")


async def test_it_is_dark_when_the_system_is(visit: Visit) -> None:
    page = await visit("/docs", color_scheme="light")
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = await page.evaluate(background)
    await page.emulate_media(color_scheme="dark")
    assert await comes(page, f"{background} !== '{light}'")
