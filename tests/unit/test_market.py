"""Which sources MARKET_SOURCE and MARKET_FALLBACK open, and with what."""

import subprocess
import sys
from datetime import UTC, datetime

import pytest

from tests.support import ROOT
from worker.config import WorkerSettings
from worker.market import SOURCES, open_market
from worker.market.coingecko import CoinGecko
from worker.market.defillama import DefiLlama
from worker.market.fallback import Fallback
from worker.market.simulated import Simulated
from worker.market.terms import Plan


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


LOADED = """
import asyncio, sys
from worker.__main__ import open_market
from worker.config import WorkerSettings

async def main():
    async with open_market(WorkerSettings.load({"MARKET_SOURCE": sys.argv[1]})):
        print("httpx" in sys.modules)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("source", "has_client"), [("coingecko", True), ("defillama", True), ("simulated", False), ("none", False)]
)
def test_only_a_worker_that_asks_somebody_has_the_http_client_in_memory(source: str, has_client: bool) -> None:  # noqa: FBT001 - a parameter of the test
    command = [sys.executable, "-c", LOADED, source]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout == f"{has_client}\n"


@pytest.mark.parametrize(
    ("plan", "host"),
    [("public", "api.coingecko.com"), ("demo", "api.coingecko.com"), ("pro", "pro-api.coingecko.com")],
)
async def test_each_plan_has_its_own_host(plan: Plan, host: str) -> None:
    market = CoinGecko(coins=("bitcoin",), currency="usd", plan=plan, api_key="CG-secret")
    assert str(market._client.http.base_url) == f"https://{host}/api/v3/"
    await market.close()


async def test_coingecko_is_opened_with_its_settings() -> None:
    settings = {"COINGECKO_URL": "http://localhost:9/v3", "COINGECKO_PLAN": "demo", "COINGECKO_API_KEY": "CG-secret"}
    async with open_market(WorkerSettings.load(settings | {"MARKET_FALLBACK": "none"})) as market:
        assert isinstance(market, CoinGecko)
        assert str(market._client.http.base_url) == "http://localhost:9/v3/"
        assert market._client.http.headers["x-cg-demo-api-key"] == "CG-secret"


async def test_the_market_is_closed_at_the_end() -> None:
    async with open_market(WorkerSettings.load({})) as market:
        assert isinstance(market, Fallback)
        clients = [source._client.http for source in market._sources]
    assert [client.is_closed for client in clients] == [True, True]


@pytest.mark.parametrize(
    ("environ", "sources"),
    [
        ({}, ["coingecko", "defillama"]),
        ({"MARKET_FALLBACK": "none"}, ["coingecko"]),
        ({"MARKET_SOURCE": "defillama"}, ["defillama"]),
        ({"MARKET_SOURCE": "simulated"}, ["simulated"]),
        ({"MARKET_SOURCE": "simulated", "VS_CURRENCY": "eur"}, ["simulated"]),
        ({"MARKET_FALLBACK": "none", "VS_CURRENCY": "eur"}, ["coingecko"]),
    ],
)
async def test_the_fallback_stands_behind_a_source_that_may_fail(
    environ: dict[str, str], sources: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with open_market(WorkerSettings.load(environ)) as market:
        assert market is not None
        asked = market._sources if isinstance(market, Fallback) else [market]
        assert [source.name for source in asked] == sources
        assert bool(market.past) == (sources != ["coingecko"])
    assert caplog.text == ""


async def test_another_currency_turns_the_fallback_off_which_is_said(caplog: pytest.LogCaptureFixture) -> None:
    async with open_market(WorkerSettings.load({"VS_CURRENCY": "eur"})) as market:
        assert isinstance(market, CoinGecko)
    assert [record.getMessage() for record in caplog.records] == [
        "[MARKET] MARKET_FALLBACK=defillama is not used: its prices are in US dollars, and VS_CURRENCY is eur"
    ]


async def test_defillama_is_opened_with_its_settings() -> None:
    settings = {"MARKET_SOURCE": "defillama", "DEFILLAMA_URL": "http://user:hunter2@localhost:9/key/coins"}
    async with open_market(WorkerSettings.load(settings)) as market:
        assert isinstance(market, DefiLlama)
        assert str(market._client.http.base_url) == "http://localhost:9/key/coins/"


async def test_the_simulated_market_needs_no_settings_of_coingecko() -> None:
    async with open_market(WorkerSettings.load({"MARKET_SOURCE": "simulated", "COINGECKO_PLAN": "pro"})) as market:
        assert market is not None
        assert len(await market.fetch(datetime(2026, 1, 1, tzinfo=UTC), 1)) == 3


async def test_a_key_that_the_public_plan_leaves_unused_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    async with open_market(WorkerSettings.load({"COINGECKO_API_KEY": "CG-secret"})):
        assert "COINGECKO_API_KEY is not used" in caplog.text
    assert "CG-secret" not in caplog.text
