"""The page shows what anyone publishes as text, and nothing in it runs."""

import json
from datetime import timedelta
from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.site import Site, now, quote
from tests.browser.visit import Visit, comes

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARKUP = "<img src=/nothing onerror='window.ran = 1'><script>window.ran = 1</script>"
NAMES = (
    MARKUP,
    "\"><svg onload='window.ran = 1'>",
    "javascript:window.ran=1",
    "__proto__",
    "constructor",
    "toString",
    "a]b[data-id='x'] \\ \" '",
    "\u202eevil\u0000\u2028",
    "</script><b>",
)
DATA: tuple[Any, ...] = (
    MARKUP,
    None,
    0,
    [],
    {},
    {"length": 3},
    [None, 1, MARKUP, [[]]],
    [quote("bitcoin", MARKUP)],
    [quote("bitcoin", 1) | {"currency": MARKUP, "symbol": {"a": MARKUP}, "change_24h": MARKUP}],
    [quote("bitcoin", 1e308), quote("bitcoin", -1)],
    [{"coin": {"a": 1}, "price": 1}, {"coin": ["bitcoin"]}],
    [quote(MARKUP, 1) | {"updated_at": "2001-01-01"}, quote("old", 1) | {"updated_at": "-200000-01-01T00:00:00Z"}],
    [quote("bitcoin", 1) | {"updated_at": at} for at in (0, MARKUP, {"a": 1}, [])],
)
FOREIGN = "img, svg:not(.ours):not(header svg), iframe, object, embed, b, script:not([src]), #events a, #letters a"


async def nothing_ran(page: Page) -> None:
    assert await page.evaluate("window.ran") is None
    assert await page.evaluate("({}).polluted") is None
    assert await page.locator(FOREIGN).count() == 0


async def shown(page: Page, name: str, within: float = 10.0) -> bool:
    """True as soon as an entry has exactly this id."""
    ids = "[...document.querySelectorAll('#events [data-id]')].map(item => item.dataset.id)"
    return await comes(page, f"{ids}.includes({json.dumps(name)})", within)


@pytest.mark.parametrize("opened_after", [False, True], ids=["as they come", "as they are found"])
@pytest.mark.timeout(120)
async def test_hostile_coins_and_bodies_stay_text(site: Site, visit: Visit, *, opened_after: bool) -> None:
    page = None if opened_after else await visit("/")
    names = []
    for n, name in enumerate(NAMES):
        at = site.newest - timedelta(seconds=60 - n)
        names.append(await site.publish(at, quote(name, 1), __proto__={"polluted": 1}, more=name))
    for n, data in enumerate(DATA):
        names.append(await site.publish(site.newest - timedelta(seconds=30 - n), data=data))
    await site.stored(len(names))
    page = page or await visit("/")
    for name in names[-10:]:
        assert await shown(page, name), name
    await page.locator("#events details").evaluate_all("all => all.forEach(one => { one.open = true })")
    await nothing_ran(page)
    assert MARKUP in (await page.locator("#events pre").evaluate_all("all => all.map(one => one.textContent).join()"))


async def test_a_hostile_coin_can_be_chosen(site: Site, visit: Visit) -> None:
    for n, name in enumerate(NAMES):
        site.store(site.newest - timedelta(seconds=n), quote(name, 1 + n, change=0.5))
    page = await visit("/")
    coins = page.locator("#coins option, #coins button")
    assert await comes(page, f"document.querySelectorAll('#coins option, #coins button').length === {len(NAMES)}")
    for n in range(len(NAMES)):
        if await coins.nth(n).evaluate("one => one.tagName") == "OPTION":
            await page.locator("#coins").select_option(index=n)
        else:
            await coins.nth(n).click()
        assert await comes(page, "document.querySelector('#chart').dataset.points === '1'")
    await nothing_ran(page)


@pytest.mark.parametrize("name", [MARKUP, "javascript:window.ran=1", "__proto__", "x'] *", "é/?#&%", "y" * 900])
async def test_a_hostile_id_stays_text(site: Site, page: Page, name: str) -> None:
    body = json.dumps({"event": "CRYPTO_UPDATE", "timestamp": "2026-01-01T00:00:00Z"}).encode()
    await site.send(body, name.encode("unicode_escape").decode())
    assert await shown(page, name.encode("unicode_escape").decode())
    await nothing_ran(page)


async def test_a_body_of_a_hundred_thousand_characters_is_cut(site: Site, page: Page) -> None:
    name = await site.publish(site.newest, quote("bitcoin", 1), note="n" * 100_000, **{"k" * 1000: 1})
    assert await shown(page, name)
    await page.click("#events summary")
    length = await page.evaluate("document.querySelector('#events [data-id]').textContent.length")
    assert 1000 < length < 10_000
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_a_hostile_dead_letter_stays_text(site: Site, page: Page) -> None:
    markup = MARKUP.encode()
    for body in (markup, b"\xff\xfe\x00" + markup, b'{"event":"' + markup + b'"}', b"z" * 90_000):
        await site.send(body)
    assert await comes(page, "document.querySelectorAll('#letters [data-id]').length === 4")
    await page.locator("#letters details").evaluate_all("all => all.forEach(one => { one.open = true })")
    await nothing_ran(page)
    assert "<script>" in await page.inner_text("#letters")
    assert await page.evaluate("document.querySelector('#letters').textContent.length") < 30_000


async def test_a_price_of_another_type_does_not_stop_those_that_follow(site: Site, page: Page) -> None:
    for price in ("1", None, {"a": 1}, [1], True, -1e300):
        await site.publish(site.newest - timedelta(seconds=5), quote("bitcoin", price))
    name = await site.publish(now(), quote("bitcoin", 4321.0))
    assert await shown(page, name)
    assert await comes(page, "/4.?321/.test(document.querySelector('#price').textContent)")
