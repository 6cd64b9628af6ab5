"""The page works with a keyboard, a screen reader, a small screen, and with less movement."""

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

from tests.browser.site import QUARTER, Site, quote
from tests.browser.visit import Visit, comes

pytestmark = pytest.mark.asyncio(loop_scope="session")
# Swagger UI itself has violations: contrast, the order of headings, controls within controls.
OURS = {"exclude": [[".swagger-ui"]]}
PHONE = {"width": 360, "height": 740}


async def violations(page: Page, context: dict[str, Any] | None = None) -> str:
    """What axe finds, in words, or an empty text."""
    found = await Axe().run(page, context)
    return found.generate_report() if found.violations_count else ""


def everything(site: Site) -> None:
    """Store something of each kind that the page can show."""
    for n, slot in enumerate(site.fill(20)):
        if n in (3, 4):
            site.stack.events.delete_one({"timestamp": slot})
    site.store(site.newest - 30 * QUARTER, quote("bitcoin", 1), lag=700)
    site.store(site.newest + QUARTER, quote("bitcoin", 1), quote("frozen", 1) | {"updated_at": "2026-02-03T00:00:00Z"})
    site.stack.dead_letters.insert_one(
        {"_id": "CRYPTO#7", "raw": b"{", "headers": {}, "reason": "event: missing", "stream_seq": 7}
        | {"received_at": site.newest}
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation_on_the_page(site: Site, visit: Visit, scheme: str) -> None:
    everything(site)
    page = await visit("/", color_scheme=scheme, reduced_motion="reduce")
    await page.locator("#events details").first.evaluate("details => { details.open = true }")
    assert await violations(page) == ""


async def test_axe_finds_no_violation_on_the_page_before_the_first_event(visit: Visit) -> None:
    assert await violations(await visit("/")) == ""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation_of_ours_on_the_documentation(visit: Visit, scheme: str) -> None:
    page = await visit("/docs", color_scheme=scheme)
    await page.wait_for_selector(".opblock")
    assert await violations(page, OURS) == ""


async def test_the_strip_is_one_stop_for_the_tab_key_and_the_arrows_walk_along_it(site: Site, visit: Visit) -> None:
    site.fill(10)
    page = await visit("/")
    assert await page.locator("#strip [tabindex='0']").count() == 1
    await page.focus("#strip [tabindex='0']")
    at = "document.activeElement.dataset.slot"
    first = await page.evaluate(at)
    await page.keyboard.press("ArrowLeft")
    second = await page.evaluate(at)
    await page.keyboard.press("ArrowLeft")
    assert len({first, second, await page.evaluate(at)}) == 3
    await page.keyboard.press("ArrowRight")
    assert await page.evaluate(at) == second
    await page.keyboard.press("Home")
    slots = await page.locator("#strip [data-slot]").evaluate_all("cells => cells.map(cell => cell.dataset.slot)")
    assert await page.evaluate(at) == slots[0]
    await page.keyboard.press("End")
    assert await page.evaluate(at) == slots[-1]


async def test_every_stop_of_the_tab_key_shows_its_focus(site: Site, visit: Visit) -> None:
    site.fill(3)
    page = await visit("/")
    unseen = []
    for _ in range(60):
        await page.keyboard.press("Tab")
        name, seen = await page.evaluate(
            """() => {
                const at = document.activeElement, style = getComputedStyle(at);
                const outlined = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
                return [at.outerHTML.slice(0, 80), outlined || style.boxShadow !== "none"];
            }"""
        )
        if name.startswith("<body"):
            break
        if not seen:
            unseen.append(name)
    else:
        pytest.fail("the tab key does not come to an end")
    assert unseen == []


async def test_a_phone_scrolls_in_one_direction_only(site: Site, visit: Visit) -> None:
    everything(site)
    site.store(site.newest - 40 * QUARTER, quote("a" * 200, 1), note="b" * 3000)
    page = await visit("/", viewport=PHONE)
    await page.locator("#events details").first.evaluate("details => { details.open = true }")
    wide = """() => [...document.querySelectorAll("body *")]
        .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && e.checkVisibility())
        .map(e => e.outerHTML.slice(0, 80))"""
    assert await page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], await page.evaluate(wide)


async def test_nothing_moves_for_those_who_ask_for_less_movement(site: Site, visit: Visit) -> None:
    page = await visit("/", reduced_motion="reduce")
    await page.evaluate(
        """() => {
            window.moved = [];
            // A change of opacity or colour is not a movement.
            const still = ["offset", "computedOffset", "easing", "composite", "opacity", "color", "backgroundColor"];
            const look = () => {
                for (const one of document.getAnimations())
                    for (const frame of one.effect.getKeyframes())
                        moved.push(...Object.keys(frame).filter(key => !still.includes(key)));
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    name = await site.publish(site.newest, quote("bitcoin", 1))
    await page.wait_for_selector(f"#events [data-id='{name}']")
    await page.wait_for_timeout(1500)
    assert await page.evaluate("[...new Set(moved)]") == []


async def test_the_event_is_seen_travelling_by_those_who_do_not(site: Site, visit: Visit) -> None:
    page = await visit("/", reduced_motion="no-preference")
    await page.wait_for_selector("#station-nats[data-state=ok]")  # the live stream is open
    await page.evaluate(
        """() => {
            window.most = 0;
            const look = () => {
                const running = document.getAnimations().filter(one => one.effect?.target?.id === "traveller");
                most = Math.max(most, running.length);
                requestAnimationFrame(look);
            };
            look();
        }"""
    )
    await site.publish(site.newest, quote("bitcoin", 1))
    assert await comes(page, "most > 0")
    assert await page.evaluate("most") == 1
