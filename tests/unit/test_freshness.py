"""How old the quotes are: what is counted, and which coins are warned of."""

import logging
import math
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import REGISTRY

from crypto_updates.bus.event import Event, Quote
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import is_stale
from worker.freshness import Freshness

SLOT = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
FROZEN = datetime(2026, 2, 3, 17, 1, tzinfo=UTC)
QUARTERS = Cron("*/15 * * * *")
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)


def made(slot: datetime = SLOT, **updated_at: datetime | None) -> Event:
    """An event with the quotes of these coins."""
    rest = {"symbol": "x", "price": 1.0, "market_cap": None, "change_24h": None, "currency": "usd"}
    quotes = tuple(Quote(coin=coin, updated_at=at, **rest) for coin, at in updated_at.items())  # type: ignore[arg-type] # of several types
    return Event(timestamp=slot, data=quotes)


def age(coin: str) -> float | None:
    return REGISTRY.get_sample_value("crypto_market_quote_age_seconds", {"coin": coin})


@pytest.mark.parametrize(
    ("schedule", "limit"),
    [
        ("*/15 * * * *", DAY),
        ("* * * * * *", DAY),
        ("0 */6 * * *", DAY),
        ("0 */12 * * *", 2 * DAY),
        ("@daily", 4 * DAY),
        ("@weekly", 28 * DAY),
    ],
)
def test_a_quote_is_stale_after_a_day_or_four_intervals(schedule: str, limit: timedelta) -> None:
    cron = Cron(schedule)
    slot = cron.previous(SLOT)
    assert not is_stale(cron, slot, slot - limit)
    assert is_stale(cron, slot, slot - limit - SECOND)


def test_the_limit_of_the_age_is_a_metric_too() -> None:
    for schedule, limit in (("*/15 * * * *", DAY), ("@daily", 4 * DAY)):
        cron = Cron(schedule)
        Freshness((), cron).look(made(cron.previous(SLOT)))
        assert REGISTRY.get_sample_value("crypto_market_quote_age_limit_seconds") == limit.total_seconds()


def test_a_stale_coin_is_warned_of_once_until_it_is_fresh(caplog: pytest.LogCaptureFixture) -> None:
    freshness = Freshness(("matic", "bitcoin"), QUARTERS)
    for at in (FROZEN, FROZEN, SLOT, FROZEN):
        freshness.look(made(matic=at, bitcoin=SLOT))
    line = "[MARKET] matic: last updated 2026-02-03; the listing looks frozen"
    assert caplog.record_tuples == [("worker.freshness", logging.WARNING, line)] * 2


def test_the_age_of_a_quote_grows_until_the_next_one() -> None:
    freshness = Freshness(("aged", "gone", "away", "timeless"), QUARTERS)
    freshness.look(made(aged=datetime.now(UTC) - timedelta(seconds=100), gone=FROZEN, timeless=None))
    assert age("aged") == pytest.approx(100, abs=5)
    assert age("gone") == pytest.approx(time.time() - FROZEN.timestamp(), abs=5)
    assert age("away") == age("timeless") == math.inf
    freshness.look(made(aged=datetime.now(UTC), away=datetime.now(UTC)))
    assert age("aged") == pytest.approx(0, abs=5)
    assert age("away") == pytest.approx(0, abs=5)
    assert age("gone") == pytest.approx(time.time() - FROZEN.timestamp(), abs=5)


def test_the_age_is_infinite_while_no_event_has_had_data() -> None:
    freshness = Freshness(("asked",), QUARTERS)
    assert age("asked") is None
    freshness.look(Event(timestamp=SLOT))
    assert age("asked") == math.inf


def test_the_ages_are_gone_while_another_worker_makes_the_events() -> None:
    freshness = Freshness(("mine", "missing"), QUARTERS)
    freshness.look(made(mine=datetime.now(UTC)))
    freshness.forget()
    assert age("mine") is age("missing") is None
    freshness.look(Event(timestamp=SLOT))
    assert age("mine") == age("missing") == math.inf


def test_an_event_of_the_future_freezes_no_coin(caplog: pytest.LogCaptureFixture) -> None:
    now = datetime.now(UTC)
    Freshness(("bitcoin",), QUARTERS).look(made(now + 100 * DAY, bitcoin=now))
    assert caplog.text == ""
