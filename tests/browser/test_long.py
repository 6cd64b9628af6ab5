"""A page that is open for long: nothing shifts, and nothing grows."""

import asyncio
from datetime import timedelta

import pytest
from playwright.async_api import CDPSession, Page

from tests.browser.site import Site, body, now, quote
from tests.browser.visit import Visit, comes

pytestmark = pytest.mark.asyncio(loop_scope="session")
MEGABYTE = 1 << 20


async def heap(session: CDPSession) -> float:
    """The bytes in use after a garbage collection."""
    for _ in range(3):
        await session.send("HeapProfiler.collectGarbage")
    return float((await session.send("Runtime.getHeapUsage"))["usedSize"])


async def nodes(session: CDPSession) -> tuple[float, float]:
    """Nodes and listeners, detached ones included."""
    found = await session.send("Memory.getDOMCounters")
    return found["nodes"], found["jsEventListeners"]


async def follow(site: Site, page: Page, first: int, count: int) -> None:
    """Publish so many events, as fast as the stream carries them, and wait until the last one is shown."""
    for n in range(first, first + count):
        name = await site.publish(now() - timedelta(hours=1) + timedelta(seconds=n), quote("bitcoin", 50_000 + n % 9))
        await asyncio.sleep(0.02)
    await page.wait_for_selector(f"#events [data-id='{name}']", timeout=20_000)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("schedule", ["*/5 * * * * *"])
async def test_an_hour_of_the_demo_does_not_fill_the_memory(site: Site, visit: Visit) -> None:
    page = await visit("/")
    session = await page.context.new_cdp_session(page)
    await follow(site, page, 0, 100)
    await page.wait_for_timeout(1000)
    before, (few, listeners) = await heap(session), await nodes(session)
    await follow(site, page, 100, 620)
    await page.wait_for_timeout(1000)
    after, (many, more) = await heap(session), await nodes(session)
    assert after - before <= max(0.1 * before, MEGABYTE)
    assert many < 5000
    assert many - few <= 0.1 * few
    assert more - listeners <= 20
    assert await page.locator("#events [data-id]").count() <= 50


async def test_nothing_shifts_as_events_arrive(site: Site, visit: Visit) -> None:
    for n, slot in enumerate(site.fill(30)):
        if n == 5:
            site.stack.events.delete_one({"timestamp": slot})
    page = await visit("/")
    await page.wait_for_selector("#station-mongo[data-state=ok]")
    await page.wait_for_timeout(1000)
    await page.evaluate(
        """() => {
            window.shifts = [];
            new PerformanceObserver(list => {
                for (const one of list.getEntries())
                    shifts.push([one.value, ...one.sources.map(source => source.node?.outerHTML?.slice(0, 90))]);
            }).observe({ type: "layout-shift" });
        }"""
    )
    for n in range(10):
        name = await site.publish(site.newest + timedelta(seconds=n + 1), quote("bitcoin", 50_000 + 10 ** min(n, 6)))
        await page.wait_for_selector(f"#events [data-id='{name}']")
        await asyncio.sleep(0.3)
    shifts = await page.evaluate("shifts")
    assert sum(shift[0] for shift in shifts) < 0.02, sorted(shifts, reverse=True)[:3]


async def test_the_observer_of_shifts_sees_one(visit: Visit) -> None:
    """Otherwise the test above could not fail."""
    page = await visit("/")
    await page.evaluate(
        """() => {
            window.shifts = 0;
            new PerformanceObserver(list => { for (const one of list.getEntries()) shifts += one.value; })
                .observe({ type: "layout-shift" });
            setTimeout(() => { document.querySelector("main").style.marginTop = "200px"; }, 200);
        }"""
    )
    assert await comes(page, "shifts > 0.02")


async def test_a_burst_is_caught_up_with(site: Site, page: Page) -> None:
    """More is stored than the stream carries: the page fetches what was skipped."""
    begin = site.newest - timedelta(seconds=20 * 3000)
    js = site.client.jetstream()
    for n in range(3000):
        await js.publish_async("crypto.updates", body(begin + timedelta(seconds=20 * n), quote("bitcoin", n)))
    await js.publish_async_completed()
    name = await site.publish(site.newest, quote("bitcoin", 9))
    await page.wait_for_selector(f"#events [data-id='{name}']", timeout=20_000)
    events = r"document.querySelector('#station-mongo [data-fact=events]').textContent.replace(/\D/g, '')"
    assert await comes(page, f"{events} === '3001'")
    assert await comes(page, "Number(document.querySelector('#chart').dataset.points) > 100")
