"""The page of `crypto-updates demo --faults` says what is broken, and that nothing is lost by it."""

import asyncio
import re

import pytest
from playwright.async_api import Browser

from crypto_updates.harness.plugin import Service
from tests.browser.visit import comes
from tests.e2e.conftest import STEADY

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(120)]
# A plan that begins with a nats-server that is killed for 4 s.
SEED = "17"


@pytest.mark.usefixtures("mongod")
async def test_it_shows_a_fault_while_it_lasts_and_then_that_nothing_is_missing(
    service: Service, browser: Browser
) -> None:
    arguments = "--faults", SEED, "--faults-every", "10", "--every", "* * * * * *"
    demo = service("stack", "demo", *arguments, **STEADY)
    ready = await asyncio.to_thread(demo.wait_for_line, "Ready after")
    page = await browser.new_page()
    await page.goto(re.findall(r"http://\S+", ready)[0])
    await page.wait_for_selector("#demo[data-over=false] #note:text-is('nats-server killed; back in 4 s')")
    await page.wait_for_selector("#demo[data-over=true] #note:text('nats-server is back after ')")
    # The slots of the outage are stored late.
    assert await comes(page, "Number(document.querySelector('[data-figure=late]').textContent) > 0", 30)
    whole = r"/^(\d+) of \1 slots stored, none missing$/.test(document.getElementById('tally').textContent)"
    assert await comes(page, whole, 30)
    await page.close()
