"""Which source MARKET_SOURCE opens, and with what."""

from datetime import UTC, datetime

import pytest

from worker.config import WorkerSettings
from worker.market import SOURCES, open_market
from worker.market.coingecko import CoinGecko, Plan
from worker.market.simulated import Simulated


@pytest.mark.parametrize("source", [name for name in SOURCES if name != "none"])
async def test_it_opens_the_source_by_name(source: str) -> None:
    async with open_market(WorkerSettings.load({"MARKET_SOURCE": source})) as market:
        assert market is not None
        assert market.name == source


async def test_none_opens_no_market() -> None:
    async with open_market(WorkerSettings.load({"MARKET_SOURCE": "none"})) as market:
        assert market is None


async def test_another_source_is_another_entry_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "bazaar", lambda settings: Simulated(coins=settings.coins, currency="eur"))
    async with open_market(WorkerSettings.load({"MARKET_SOURCE": "bazaar"})) as market:
        assert isinstance(market, Simulated)


@pytest.mark.parametrize(
    ("plan", "host"),
    [("public", "api.coingecko.com"), ("demo", "api.coingecko.com"), ("pro", "pro-api.coingecko.com")],
)
async def test_each_plan_has_its_own_host(plan: Plan, host: str) -> None:
    market = CoinGecko(coins=("bitcoin",), currency="usd", plan=plan, api_key="CG-secret")
    assert str(market._client.base_url) == f"https://{host}/api/v3/"
    await market.close()


async def test_coingecko_is_opened_with_its_settings() -> None:
    settings = {"COINGECKO_URL": "http://localhost:9/v3", "COINGECKO_PLAN": "demo", "COINGECKO_API_KEY": "CG-secret"}
    async with open_market(WorkerSettings.load(settings)) as market:
        assert isinstance(market, CoinGecko)
        assert str(market._client.base_url) == "http://localhost:9/v3/"
        assert market._client.headers["x-cg-demo-api-key"] == "CG-secret"


async def test_the_market_is_closed_at_the_end() -> None:
    async with open_market(WorkerSettings.load({})) as market:
        assert isinstance(market, CoinGecko)
    assert market._client.is_closed


async def test_the_simulated_market_needs_no_settings_of_coingecko() -> None:
    async with open_market(WorkerSettings.load({"MARKET_SOURCE": "simulated", "COINGECKO_PLAN": "pro"})) as market:
        assert market is not None
        assert len(await market.fetch(datetime(2026, 1, 1, tzinfo=UTC), 1)) == 3


async def test_a_key_that_the_public_plan_leaves_unused_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    async with open_market(WorkerSettings.load({"COINGECKO_API_KEY": "CG-secret"})):
        assert "COINGECKO_API_KEY is not used" in caplog.text
    assert "CG-secret" not in caplog.text
