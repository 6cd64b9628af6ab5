"""End-to-end tests of the server, with the fixture `crypto` of crypto-updates[local]: pytest"""

import sys
from pathlib import Path

import pytest

from crypto_updates.harness.app import App
from crypto_updates.harness.condition import eventually, never
from crypto_updates.harness.crypto import Crypto

COINS = 3


@pytest.fixture
def app(crypto: Crypto) -> App:
    return crypto.app(sys.executable, "server.py", cwd=Path(__file__).parent, ready="/health")


def test_it_stores_the_prices_at_each_event_and_tells_how_far_they_deviate(crypto: Crypto, app: App) -> None:
    for number, price in enumerate([40_000, 45_000, 50_000], start=1):
        crypto.market.prices["bitcoin"] = price
        crypto.publish()
        crypto.reactions.wait(COINS * number)
    assert app.get("/deviation?coin=bitcoin").json() == {"deviation": 4082.48}
    assert app.get("/stats?coin=bitcoin").json()["price"] == 50_000
    assert app.get("/stats?coin=unknown").status == 404


def test_a_second_copy_of_an_event_changes_nothing(crypto: Crypto, app: App) -> None:
    crypto.publish(copies=2)
    crypto.reactions.wait(COINS)
    never(lambda: len(crypto.reactions) > COINS)
    assert app.status is None


def test_it_takes_no_other_message_for_an_event_and_lives_on(crypto: Crypto, app: App) -> None:
    for body in crypto.invalid.values():
        crypto.publish(body=body)
    crypto.publish()
    crypto.reactions.wait(COINS)
    never(lambda: len(crypto.reactions) > COINS, during=0.5)
    assert app.status is None


def test_it_lives_on_when_the_market_fails(crypto: Crypto, app: App) -> None:
    crypto.market.status = 500
    crypto.publish()
    app.wait_for_line("Not stored")
    crypto.market.status = 200
    crypto.publish()
    crypto.reactions.wait(COINS)


def test_it_hears_events_again_after_nats_was_down(crypto: Crypto, app: App) -> None:
    crypto.nats.down(3)
    eventually(crypto.subscribers)
    crypto.publish()
    crypto.reactions.wait(COINS)
    assert app.status is None


def test_on_sigterm_it_stores_what_it_has_taken(crypto: Crypto, app: App) -> None:
    crypto.market.delay = 1
    crypto.publish()
    crypto.market.requests.wait()
    assert app.stop() == 0
    crypto.reactions.wait(COINS)
