"""open_market: which source it opens, and what it refuses."""

from datetime import UTC, datetime
from typing import Any

import pytest

from worker.market import Market, MarketError, open_market
from worker.market.coingecko import CoinGecko, Plan

SETTINGS: dict[str, Any] = {
    "coins": ("bitcoin",),
    "currency": "usd",
    "url": None,
    "plan": "public",
    "api_key": None,
}


@pytest.mark.parametrize("source", ["coingecko", "simulated"])
async def test_it_opens_the_source_by_name(source: str) -> None:
    market: Market | None = open_market(source, **SETTINGS)
    assert market is not None
    assert market.name == source
    await market.close()


@pytest.mark.parametrize(
    ("plan", "host"),
    [("public", "api.coingecko.com"), ("demo", "api.coingecko.com"), ("pro", "pro-api.coingecko.com")],
)
async def test_each_plan_has_its_own_host(plan: Plan, host: str) -> None:
    market = CoinGecko(coins=("bitcoin",), currency="usd", plan=plan, api_key="CG-secret")
    assert str(market._client.base_url) == f"https://{host}/api/v3/"
    await market.close()


def test_none_opens_no_market() -> None:
    assert open_market("none", **SETTINGS | {"coins": ()}) is None


async def test_the_simulated_market_needs_no_settings_of_coingecko() -> None:
    market = open_market("simulated", **SETTINGS | {"plan": "pro", "url": "nonsense"})
    assert market is not None
    assert len(await market.fetch(datetime(2026, 1, 1, tzinfo=UTC), 1)) == 1


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("kraken", {}, "MARKET_SOURCE: 'kraken' is not one of coingecko, simulated, none"),
        ("coingecko", {"coins": ()}, "COINS: empty"),
        ("simulated", {"coins": ()}, "COINS: empty"),
        ("coingecko", {"plan": "demo"}, "COINGECKO_API_KEY: missing, and COINGECKO_PLAN=demo needs it"),
        ("coingecko", {"plan": "pro", "api_key": ""}, "COINGECKO_API_KEY: missing, and COINGECKO_PLAN=pro needs it"),
        ("coingecko", {"url": "ftp://example.com"}, "COINGECKO_URL: 'ftp://example.com' is not an address such as"),
        ("coingecko", {"url": "http://"}, "COINGECKO_URL: 'http://' is not"),
        ("coingecko", {"url": "http://localhost:99999"}, "COINGECKO_URL: 'http://localhost:99999' is not"),
        ("coingecko", {"url": "http://[::1"}, r"COINGECKO_URL: 'http://\[::1' is not"),
    ],
)
def test_it_names_the_setting_that_is_wrong(source: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(MarketError, match=message):
        open_market(source, **SETTINGS | settings)


@pytest.mark.parametrize("key", ["CG-secret\n", "CG secret", "CG-sécret"])
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(MarketError, match="COINGECKO_API_KEY") as caught:
        open_market("coingecko", **SETTINGS | {"plan": "demo", "api_key": key})
    assert key.strip() not in str(caught.value)


def test_a_password_in_a_wrong_address_is_not_shown() -> None:
    with pytest.raises(MarketError, match="COINGECKO_URL") as caught:
        open_market("coingecko", **SETTINGS | {"url": "ftp://user:hunter2@example.com"})
    assert "hunter2" not in str(caught.value)


async def test_a_key_that_the_public_plan_leaves_unused_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    market = open_market("coingecko", **SETTINGS | {"api_key": "CG-secret"})
    assert market is not None
    await market.close()
    assert "COINGECKO_API_KEY is not used" in caplog.text
    assert "CG-secret" not in caplog.text
