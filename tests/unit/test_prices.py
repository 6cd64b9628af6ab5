"""The prices as a metric: which are shown, and when there is none."""

from datetime import UTC, datetime

import pytest
from prometheus_client import REGISTRY

from crypto_updates.bus.event import Event, Quote
from worker.config import WorkerSettings
from worker.prices import Prices

SLOT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)


def made(currency: str = "usd", **prices: float | None) -> Event:
    """An event with these coins' prices."""
    rest = {"symbol": "x", "market_cap": None, "change_24h": None, "updated_at": SLOT}
    quotes = tuple(Quote(coin=coin, price=price, currency=currency, **rest) for coin, price in prices.items())  # type: ignore[arg-type] # of several types
    return Event(timestamp=SLOT, data=quotes)


def price(coin: str, currency: str = "usd") -> float | None:
    return REGISTRY.get_sample_value("crypto_price", {"coin": coin, "currency": currency})


def test_a_coin_has_the_price_of_the_newest_event_and_none_if_that_has_none() -> None:
    prices = Prices(is_shown=True)
    prices.look(made(bitcoin=1.5, ethereum=2.5))
    prices.look(made(bitcoin=3.5, ethereum=None))
    assert (price("bitcoin"), price("ethereum")) == (3.5, None)
    prices.look(made("eur", bitcoin=3.0))
    assert (price("bitcoin"), price("bitcoin", "eur")) == (None, 3.0)


def test_a_market_that_fails_leaves_no_price_that_looks_new() -> None:
    prices = Prices(is_shown=True)
    prices.look(made(bitcoin=1.5))
    prices.look(Event(timestamp=SLOT))
    assert price("bitcoin") is None
    prices.look(made(bitcoin=2.5))
    assert price("bitcoin") == 2.5


def test_there_is_no_price_while_another_worker_makes_the_events() -> None:
    prices = Prices(is_shown=True)
    prices.look(made(mine=1.5))
    prices.forget()
    assert price("mine") is None
    prices.look(Event(timestamp=SLOT))  # it is its turn again, and the market fails


def test_a_price_is_not_shown_unless_it_is_wanted() -> None:
    Prices(is_shown=False).look(made(hidden=1.5))
    assert price("hidden") is None


@pytest.mark.parametrize(
    ("metrics", "coins", "shown"),
    [("auto", 50, True), ("auto", 51, False), ("on", 51, True), ("off", 1, False), ("", 50, True)],
)
def test_prices_are_off_by_default_above_50_coins(metrics: str, coins: int, shown: bool) -> None:  # noqa: FBT001 - a value of the table
    environ = {"PRICE_METRICS": metrics} if metrics else {}
    settings = WorkerSettings.load({"COINS": ",".join(f"coin{number}" for number in range(coins)), **environ})
    assert settings.shows_prices is shown
