"""The price axis tells its ticks apart, and the prices are as exact, whatever the prices are."""

from typing import Any

import pytest
from bson import Decimal128, Int64
from playwright.async_api import Page

from tests.browser.site import QUARTER, Site, quote
from tests.browser.visit import Visit, comes

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def labels(page: Page) -> list[str]:
    """What is written at the price axis, when the chart is drawn anew."""
    await page.evaluate(
        """() => {
            window.written = undefined;
            window.original ??= CanvasRenderingContext2D.prototype.fillText;
            CanvasRenderingContext2D.prototype.clearRect = () => { window.written = []; };
            CanvasRenderingContext2D.prototype.fillText = function (text, ...more) {
                if (text.includes("$")) window.written?.push(text);
                return original.call(this, text, ...more);
            };
        }"""
    )
    dark = await page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    await page.emulate_media(color_scheme="light" if dark else "dark")
    assert await comes(page, "window.written?.length > 0")
    found: list[str] = await page.evaluate("written")
    return found


# The prices of two slots, and how a label between them begins.
CASES: tuple[tuple[list[Any], str], ...] = (
    ([0.9998, 1.0006], "$1.0002"),
    ([1.0, 1.0], "$1.0"),
    ([1e-8, 3e-8], "$0.00000002"),
    ([2e-14, 3e-14], "$2.50E-14"),
    ([50_000, 51_000], "$50,500"),
    ([-3.0, 2.0], "-$2"),
    ([-0.002, 0.001], "-$0.001"),
    ([1e20, 2e20], "$1.50E20"),
    ([-1.7e308, 2.0], "$2"),
    ([0, 0], ""),
    ([Int64(2**31), Int64(2**31 + 10)], "$2,147,483,650"),
    ([Decimal128("0.10001"), Decimal128("0.10002")], "$0.100015"),
)


async def test_the_ticks_of_the_price_axis_differ_whatever_the_prices(site: Site, visit: Visit) -> None:
    for n in range(2):
        quotes = [quote(f"coin{number:02}", prices[n]) for number, (prices, _) in enumerate(CASES)]
        site.store(site.newest - n * QUARTER, *quotes)
    page = await visit("/", color_scheme="light")
    for number, (_, among) in enumerate(CASES):
        await page.select_option("#coins", f"coin{number:02}")
        assert await comes(page, f"document.querySelector('#chart-summary').textContent.startsWith('coin{number:02}')")
        written = await labels(page)
        assert len(written) == len(set(written)) >= 2, written
        assert any(label.startswith(among) for label in written), written
        assert any(digit in "0123456789" for digit in await page.inner_text("#price"))
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_prices_near_to_one_are_told_apart(site: Site, visit: Visit) -> None:
    for n, price in enumerate((1.0006, 0.9998, 1.0001)):
        site.store(site.newest - n * QUARTER, quote("bitcoin", price))
    page = await visit("/")
    assert await comes(page, "document.querySelector('#price').textContent === '$1.0006'")
    assert "between $0.9998 and $1.0006" in await page.inner_text("#chart-summary")


async def test_prices_that_differ_by_little_are_told_apart_wherever_they_stand(site: Site, visit: Visit) -> None:
    for n, price in enumerate((100.0006, 100.0001, 100.0002)):
        site.store(site.newest - n * QUARTER, quote("bitcoin", price))
    page = await visit("/")
    assert await comes(page, "document.querySelector('#price').textContent === '$100.0006'")
    assert "between $100.0001 and $100.0006" in await page.inner_text("#chart-summary")
    cells = await page.eval_on_selector_all("#prices td:last-child", "cells => cells.map(cell => cell.textContent)")
    assert cells == ["$100.0006", "$100.0001", "$100.0002"]


async def test_integers_beyond_32_bits_move_the_chart(site: Site, page: Page) -> None:
    for n, price in enumerate((2**31, 2**31 + 1, 2**53 + 1)):
        await site.publish(site.newest - (3 - n) * QUARTER, quote("bitcoin", price))
        assert await comes(page, f"document.querySelector('#chart').dataset.points === '{n + 1}'")
    assert "9,007,199,254,740,992" in await page.inner_text("#price")
