"""The market on loopback, as the harness has it answer."""

import threading
import time

import pytest

from crypto_updates.harness import answer
from crypto_updates.harness.answer import Answer
from crypto_updates.harness.market import Market
from tests.support import HANG_SECONDS

PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"


def test_it_answers_with_the_prices_that_it_is_given() -> None:
    with Market() as market:
        market.prices["bitcoin"] = 1.25
        assert answer.get(market.url + PRICE).json() == {"bitcoin": {"usd": 1.25}}
        (request,) = market.requests.wait(1)
    assert (request.path, request.query) == ("/api/v3/simple/price", {"ids": "bitcoin", "vs_currencies": "usd"})


@pytest.mark.parametrize("status", [429, 500, 520])  # the last one is Cloudflare's
def test_it_answers_with_a_status(status: int) -> None:
    with Market() as market:
        market.status = status
        assert answer.get(market.url + PRICE).status == status
        market.reset()
        assert (answer.get(market.url + PRICE).status, len(market.requests)) == (200, 1)


def test_it_answers_with_html() -> None:
    with Market() as market:
        market.body = b"<html>"
        found = answer.get(market.url + PRICE)
    assert (found.status, found.headers["content-type"], found.text) == (200, "text/html", "<html>")


def test_it_answers_late_or_when_it_is_well_again() -> None:
    found: list[Answer] = []
    with Market() as market:
        market.delay = 0.3
        begin = time.monotonic()
        answer.get(market.url + PRICE, HANG_SECONDS)
        assert time.monotonic() - begin >= 0.3
        market.delay = None
        thread = threading.Thread(target=lambda: found.append(answer.get(market.url + PRICE, HANG_SECONDS)))
        thread.start()
        thread.join(0.3)
        assert found == []
        market.delay = 0
        thread.join(HANG_SECONDS)
    assert found[0].status == 200
