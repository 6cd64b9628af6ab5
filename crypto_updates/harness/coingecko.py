"""CoinGecko's answers, from a table of prices. Pure. https://docs.coingecko.com/reference/endpoint-overview"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from http.client import responses
from typing import Any

# What the first part of a path can be, wherever the API stands on its server.
ROOTS = ("simple", "coins", "ping")
_SYMBOLS = {"bitcoin": "btc", "ethereum": "eth", "matic-network": "matic", "polygon-ecosystem-token": "pol"}
# Of a coin that nobody has set a price of.
_PRICE = 1.5
_SUPPLY, _CHANGE = 20_000_000, 1.25
_OF_A_COIN: tuple[list[str], ...] = ([], ["market_chart"], ["market_chart", "range"])
_STEP, _MOST_POINTS = timedelta(minutes=5), 1000
_MOST_DAYS = 365

Prices = Mapping[str, float | None]
Found = tuple[int, object]


def answer(path: Sequence[str], query: Mapping[str, str], prices: Prices, now: datetime) -> Found:
    """Status and document. A coin without a price is unknown; one that is not in the table has some price."""
    try:
        return _found(path, query, prices, now)
    except (ValueError, OverflowError) as error:
        return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": f"a number of the query is none: {error}"}


def error(status: int) -> object:
    """The document that comes with a status other than 200."""
    return {"status": {"error_code": status, "error_message": responses.get(status, "")}}


def _found(path: Sequence[str], query: Mapping[str, str], prices: Prices, now: datetime) -> Found:
    match list(path):
        case ["ping"]:
            return HTTPStatus.OK, {"gecko_says": "(V3) To the Moon!"}
        case ["simple", "price"]:
            return HTTPStatus.OK, _simple(_known(_words(query, "ids"), prices), query, now)
        case ["coins", "markets"]:
            asked = _known(_words(query, "ids") or prices, prices)
            return HTTPStatus.OK, [_market(coin, price, now) for coin, price in asked.items()]
        case ["coins", "list"]:
            return HTTPStatus.OK, [_names(coin) for coin in _known(prices, prices)]
        case ["coins", coin, *rest] if rest in _OF_A_COIN and (price := prices.get(coin, _PRICE)) is not None:
            return HTTPStatus.OK, _chart(price, query, now) if rest else _coin(coin, price, now)
    return HTTPStatus.NOT_FOUND, {"error": "coin not found"}


def _words(query: Mapping[str, str], name: str) -> list[str]:
    return [word.strip() for word in query.get(name, "").split(",") if word.strip()]


def _known(coins: Sequence[str] | Prices, prices: Prices) -> dict[str, float]:
    return {coin: price for coin in coins if (price := prices.get(coin, _PRICE)) is not None}


def _names(coin: str) -> dict[str, Any]:
    return {"id": coin, "symbol": _SYMBOLS.get(coin, coin[:5]), "name": coin.replace("-", " ").title()}


def _simple(coins: Mapping[str, float], query: Mapping[str, str], now: datetime) -> object:
    def quotes(price: float) -> dict[str, float]:
        found: dict[str, float] = {}
        for currency in _words(query, "vs_currencies"):
            more = {"market_cap": price * _SUPPLY, "24hr_vol": price * 1000, "24hr_change": _CHANGE}
            asked = {name: value for name, value in more.items() if query.get(f"include_{name}") == "true"}
            found |= {currency: price, **{f"{currency}_{_short(name)}": value for name, value in asked.items()}}
        if query.get("include_last_updated_at") == "true":
            found["last_updated_at"] = int(now.timestamp())
        return found

    return {coin: quotes(price) for coin, price in coins.items()}


def _short(name: str) -> str:
    return name.replace("24hr", "24h")


def _market(coin: str, price: float, now: datetime) -> dict[str, Any]:
    return _names(coin) | {
        "image": "",
        "current_price": price,
        "market_cap": price * _SUPPLY,
        "market_cap_rank": 1,
        "total_volume": price * 1000,
        "high_24h": price,
        "low_24h": price,
        "price_change_24h": price * _CHANGE / 100,
        "price_change_percentage_24h": _CHANGE,
        "circulating_supply": _SUPPLY,
        "last_updated": _time(now),
    }


def _coin(coin: str, price: float, now: datetime) -> dict[str, Any]:
    """In dollars and euros, which are worth the same here."""

    def of(value: float) -> dict[str, float]:
        return dict.fromkeys(("usd", "eur"), value)

    data = {
        "current_price": of(price),
        "market_cap": of(price * _SUPPLY),
        "total_volume": of(price * 1000),
        "price_change_24h": price * _CHANGE / 100,
        "price_change_percentage_24h": _CHANGE,
        "last_updated": _time(now),
    }
    return _names(coin) | {"market_data": data, "last_updated": _time(now)}


def _chart(price: float, query: Mapping[str, str], now: datetime) -> dict[str, list[list[float]]]:
    """The same price all the time: of `from` to `to`, or of the last `days`. Raises ValueError, OverflowError."""
    end = float(query.get("to", now.timestamp()))
    days = query.get("days", "1")
    begin = float(query.get("from", end - 86_400 * float(_MOST_DAYS if days == "max" else days)))
    count = max(0, min(_MOST_POINTS, int((end - begin) / _STEP.total_seconds()) + 1))
    times = [int((end - number * _STEP.total_seconds()) * 1000) for number in reversed(range(count))]
    values = {"prices": price, "market_caps": price * _SUPPLY, "total_volumes": price * 1000}
    return {name: [[time, value] for time in times] for name, value in values.items()}


def _time(now: datetime) -> str:
    return now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
