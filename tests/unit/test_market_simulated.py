"""The simulated market: the same everywhere, and like a market."""

import asyncio
import time
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto_updates.bus.event import Quote
from worker.market.simulated import Simulated

SLOT = datetime(2026, 1, 1, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def fetch(*coins: str, slot: datetime = SLOT, currency: str = "usd") -> tuple[Quote, ...]:
    return asyncio.run(Simulated(coins=coins, currency=currency).fetch(slot, 1))


def price(coin: str, slot: datetime, currency: str = "usd") -> float:
    (quote,) = fetch(coin, slot=slot, currency=currency)
    assert quote.price is not None
    return quote.price


def test_a_slot_has_the_same_bytes_on_every_machine() -> None:
    assert msgspec.json.encode(fetch("bitcoin", "some-coin")) == (
        b'[{"coin":"bitcoin","symbol":"btc","price":67467.17,"market_cap":1342596680000.0,'
        b'"change_24h":-4.251,"currency":"usd","updated_at":"2026-01-01T00:00:00Z"}'
        b',{"coin":"some-coin","symbol":"somec","price":0.09435796,"market_cap":33025286.0,'
        b'"change_24h":1.2452,"currency":"usd","updated_at":"2026-01-01T00:00:00Z"}]'
    )


def test_a_slot_has_the_same_quotes_in_every_time_zone() -> None:
    elsewhere = SLOT.astimezone(timezone(timedelta(hours=9)))
    assert msgspec.json.encode(fetch("bitcoin", slot=elsewhere)) == msgspec.json.encode(fetch("bitcoin"))


def test_a_coin_has_the_same_quote_in_any_company() -> None:
    assert fetch("bitcoin", "ethereum")[1] == fetch("ethereum")[0]


@pytest.mark.parametrize(
    ("coin", "low", "high"),
    [
        ("bitcoin", 60_000, 100_000),
        ("ethereum", 2_000, 4_000),
        ("matic-network", 0.2, 0.6),
        ("polygon-ecosystem-token", 0.1, 0.4),
        ("tether", 0.99, 1.01),
    ],
)
def test_a_well_known_coin_stays_at_its_level_and_moves_smoothly(coin: str, low: float, high: float) -> None:
    path = [price(coin, SLOT + i * timedelta(minutes=15)) for i in range(1000)]
    assert low < min(path) < max(path) < high
    assert max(abs(b / a - 1) for a, b in pairwise(path)) < 0.01
    assert len(set(path)) > 100


def test_it_moves_between_two_events_of_a_demo() -> None:
    assert len({price("bitcoin", SLOT + i * timedelta(seconds=5)) for i in range(10)}) == 10


@given(
    slot=st.datetimes(timezones=st.just(UTC)), coin=st.text(min_size=1), currency=st.sampled_from(["usd", "btc", "x"])
)
def test_change_24h_is_the_change_since_the_day_before_at_any_slot(slot: datetime, coin: str, currency: str) -> None:
    (quote,) = fetch(coin, slot=slot, currency=currency)
    assert quote.price is not None
    assert quote.market_cap is not None
    assert quote.price > 0
    assert quote.market_cap > 0
    assert quote.updated_at == slot
    if slot - datetime.min.replace(tzinfo=UTC) > DAY:
        assert quote.change_24h == round((quote.price / price(coin, slot - DAY, currency) - 1) * 100, 4)


def test_the_supply_is_fixed() -> None:
    supplies = []
    for slot in (SLOT, SLOT + DAY):
        (quote,) = fetch("bitcoin", slot=slot)
        assert quote.price is not None
        assert quote.market_cap is not None
        supplies.append(quote.market_cap / quote.price)
    assert supplies == pytest.approx([19_900_000, 19_900_000])


def test_a_price_is_in_the_currency_asked_for() -> None:
    assert price("bitcoin", SLOT, "btc") == 1
    assert price("bitcoin", SLOT, "USD") == price("bitcoin", SLOT, "usd")
    assert price("bitcoin", SLOT, "eth") == pytest.approx(price("bitcoin", SLOT) / price("ethereum", SLOT))
    assert price("usd", SLOT, "eur") == pytest.approx(1 / 1.15, rel=0.05)
    assert fetch("bitcoin", currency="eur")[0].currency == "eur"


def test_ten_thousand_coins_take_a_fraction_of_a_slot() -> None:
    coins = tuple(f"coin-{i}" for i in range(10_000))
    start = time.perf_counter()
    quotes = fetch(*coins)
    assert time.perf_counter() - start < 5
    assert tuple(quote.coin for quote in quotes) == coins
    assert len({quote.price for quote in quotes}) > 9_000
