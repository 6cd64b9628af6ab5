"""The answers of the harness's market have the form of CoinGecko's."""

from datetime import UTC, datetime
from typing import Any

import pytest

from crypto_updates.harness import coingecko

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
PRICES = {"bitcoin": 40_000.0, "ethereum": 2_000.0, "gone": None}


def ask(path: str, **query: str) -> Any:  # noqa: ANN401 - the document
    status, found = coingecko.answer(path.split("/"), query, PRICES, NOW)
    assert status == (404 if "error" in found else 200)
    return found


def test_simple_price_has_what_is_asked_for_in_each_currency() -> None:
    more = {"include_market_cap": "true", "include_24hr_change": "true", "include_last_updated_at": "true"}
    assert ask("simple/price", ids="bitcoin, gone", vs_currencies="usd,eur", **more) == {
        "bitcoin": {
            "usd": 40_000.0,
            "usd_market_cap": 8e11,
            "usd_24h_change": 1.25,
            "eur": 40_000.0,
            "eur_market_cap": 8e11,
            "eur_24h_change": 1.25,
            "last_updated_at": 1_767_268_800,
        }
    }
    assert ask("simple/price", ids="ethereum", vs_currencies="usd") == {"ethereum": {"usd": 2_000.0}}


def test_markets_has_the_coins_asked_for_or_all() -> None:
    (bitcoin,) = ask("coins/markets", ids="bitcoin", vs_currency="usd")
    assert (bitcoin["symbol"], bitcoin["current_price"]) == ("btc", 40_000.0)
    assert (bitcoin["price_change_percentage_24h"], bitcoin["last_updated"]) == (1.25, "2026-01-01T12:00:00.000Z")
    assert [quote["id"] for quote in ask("coins/markets", vs_currency="usd")] == ["bitcoin", "ethereum"]


def test_a_coin_has_its_market_data() -> None:
    assert ask("coins/bitcoin")["market_data"]["current_price"]["usd"] == 40_000.0


def test_a_range_has_points_from_its_begin_to_its_end() -> None:
    end = NOW.timestamp()
    chart = ask("coins/bitcoin/market_chart/range", vs_currency="usd", **{"from": str(end - 900), "to": str(end)})
    assert chart["prices"] == [[(end - ago) * 1000, 40_000.0] for ago in (900, 600, 300, 0)]
    assert chart.keys() == {"prices", "market_caps", "total_volumes"}
    assert len(ask("coins/bitcoin/market_chart", vs_currency="usd", days="1")["prices"]) == 289


@pytest.mark.parametrize("query", [{"days": "soon"}, {"from": "nan"}, {"to": "inf"}, {"days": ""}])
def test_a_number_that_is_none_is_refused(query: dict[str, str]) -> None:
    status, found = coingecko.answer(["coins", "bitcoin", "market_chart", "range"], query, PRICES, NOW)
    assert (status, [*found]) == (422, ["error"])  # type: ignore[call-overload]  # it is a dictionary


def test_days_may_be_all_there_are() -> None:
    assert len(ask("coins/bitcoin/market_chart", vs_currency="usd", days="max")["prices"]) == 1000


@pytest.mark.parametrize("path", ["coins/gone", "coins/gone/market_chart", "coins/bitcoin/else", "simple/else"])
def test_what_it_does_not_have_is_not_found(path: str) -> None:
    assert ask(path) == {"error": "coin not found"}


def test_any_other_coin_has_a_price() -> None:
    assert ask("coins/dogecoin")["market_data"]["current_price"]["usd"] > 0
    assert ask("ping") == {"gecko_says": "(V3) To the Moon!"}
