"""How the sources' quotes are read, without a network."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from crypto_updates.bus.event import Quote
from worker.market import coingecko, defillama
from worker.market.source import Part

COIN = (
    b'{"id":"bitcoin","symbol":"btc","current_price":70187,"market_cap":1381651251183,'
    b'"price_change_percentage_24h":3.12502,"last_updated":"2024-04-07T16:49:31.736+02:00"}'
)


POINT = b'{"price":70187.5,"symbol":"BTC","timestamp":1712501371,"confidence":0.99,"decimals":8}'
ODD_SYMBOLS = [
    b'"' + b"x" * 101 + b'"',
    rb'"b\u0000c"',
    rb'"\u001b[31m"',
    rb'"btc\n"',
    rb'"\u202ecod"',
    rb'"\ud83d"',
    b'"b\x07"',
]


def listed(*coins: bytes) -> Part:
    """CoinGecko's answer with these items."""
    return coingecko.read(b"[" + b",".join(coins) + b"]", "usd")


def pointed(**coins: bytes) -> Part:
    """DefiLlama's answer with these points."""
    items = b",".join(b'"coingecko:%s":%s' % (coin.encode(), point) for coin, point in coins.items())
    return defillama.read(b'{"coins":{%s}}' % items)


def test_it_reads_a_quote() -> None:
    (quote,) = listed(COIN).quotes
    assert (quote.coin, quote.symbol, quote.currency) == ("bitcoin", "btc", "usd")
    assert (quote.price, quote.market_cap, quote.change_24h) == (70187.0, 1381651251183.0, 3.12502)
    assert quote.updated_at == datetime(2024, 4, 7, 14, 49, 31, 736000, tzinfo=UTC)
    assert quote.updated_at.utcoffset() == timedelta(0)


def test_it_reads_a_point_of_defillama() -> None:
    updated_at = datetime(2024, 4, 7, 14, 49, 31, tzinfo=UTC)
    assert pointed(bitcoin=POINT).quotes == [
        Quote(
            coin="bitcoin",
            symbol="btc",
            price=70187.5,
            market_cap=None,
            change_24h=None,
            currency="usd",
            updated_at=updated_at,
        )
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"70187", b"1e999"),
        (b"70187", b'"70187"'),
        (b'"btc"', b"null"),
        (b'"symbol":"btc",', b""),
        (b'"current_price":70187,', b""),
        (b'"last_updated":"2024-04-07T16:49:31.736+02:00"', b'"roi":null'),
        (b"2024-04-07T16:49:31.736+02:00", b"2024-04-07T16:49:31"),
        (b"2024-04-07T16:49:31.736+02:00", b"0001-01-01T00:00:00+02:00"),
        (b'"btc"', b'"' + b"x" * 1_100_000 + b'"'),
        *[(b'"btc"', symbol) for symbol in ODD_SYMBOLS],
        (b"70187", b"7" * 5000),
    ],
)
def test_a_coin_that_cannot_be_read_costs_only_that_coin(old: bytes, new: bytes) -> None:
    assert old in COIN
    part = listed(COIN.replace(b"bitcoin", b"odd").replace(old, new), COIN)
    assert [quote.coin for quote in part.quotes] == ["bitcoin"]
    assert list(part.odd) == ["odd"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"70187.5", b"null"),
        (b"70187.5", b"1e999"),
        (b'"BTC"', b"null"),
        (b'"symbol":"BTC",', b""),
        (b"1712501371", b"1e30"),
        (b"1712501371", b"1712501371000000"),
        (b"1712501371", b'"now"'),
        *[(b'"BTC"', symbol) for symbol in ODD_SYMBOLS],
        (b"70187.5", b"7" * 5000),
    ],
)
def test_a_point_that_cannot_be_read_costs_only_that_coin(old: bytes, new: bytes) -> None:
    assert old in POINT
    part = pointed(odd=POINT.replace(old, new), bitcoin=POINT)
    assert [quote.coin for quote in part.quotes] == ["bitcoin"]
    assert list(part.odd) == ["odd"]


@pytest.mark.parametrize(
    "unread", [rb'"\ud83d"', b'"\xff\xfe"', b"1e999", b"7" * 5000, b'"a\x00b"', b"[" * 50 + b"]" * 50]
)
def test_what_is_not_read_of_a_coin_costs_nothing(unread: bytes) -> None:
    part = listed(COIN.replace(b'{"id"', b'{"name":' + unread + b',"id"'), COIN.replace(b"bitcoin", b"other"))
    assert [quote.coin for quote in part.quotes] == ["bitcoin", "other"]
    part = pointed(bitcoin=POINT.replace(b"0.99", unread), other=POINT)
    assert [quote.coin for quote in part.quotes] == ["bitcoin", "other"]


def test_a_price_of_0_is_no_price_of_defillama() -> None:
    assert [quote.price for quote in pointed(bitcoin=POINT.replace(b"70187.5", b"0.0")).quotes] == [None]


@pytest.mark.parametrize("item", [b"null", b"1", b"[]", b"{}", b'{"id":null}', b'{"id":7,"symbol":"x"}', b'"bitcoin"'])
def test_an_item_without_a_name_costs_no_other_coin(item: bytes) -> None:
    part = listed(item, COIN, item)
    assert [quote.coin for quote in part.quotes] == ["bitcoin"]
    assert list(part.odd) == [""]


# The values are those that answers of /coins/markets in public repositories have.
@pytest.mark.parametrize(
    ("field", "written", "key", "value"),
    [
        ("current_price", "1.206e-09", "price", 1.206e-09),
        ("current_price", "5.6366e-11", "price", 5.6366e-11),
        ("current_price", "1.5770767167073295e+37", "price", 1.5770767167073295e37),
        ("current_price", "15770767167073295" + 21 * "0", "price", 1.5770767167073295e37),
        ("current_price", "1.0", "price", 1.0),
        ("current_price", "0", "price", 0.0),
        ("current_price", "null", "price", None),
        ("market_cap", "0", "market_cap", None),
        ("market_cap", "0.0", "market_cap", None),
        ("market_cap", "4.2e+17", "market_cap", 4.2e17),
        ("market_cap", "null", "market_cap", None),
        ("price_change_percentage_24h", "null", "change_24h", None),
        ("price_change_percentage_24h", "-100", "change_24h", -100.0),
        ("price_change_percentage_24h", "0.0", "change_24h", 0.0),
        ("price_change_percentage_24h", "583147.37468", "change_24h", 583147.37468),
        ("last_updated", '"2026-09-12T17:56:10.000Z"', "updated_at", datetime(2026, 9, 12, 17, 56, 10, tzinfo=UTC)),
        ("last_updated", '"2026-09-12T17:56:10Z"', "updated_at", datetime(2026, 9, 12, 17, 56, 10, tzinfo=UTC)),
        ("last_updated", "null", "updated_at", None),
        ("circulating_supply", "4.2e+17", "price", 70187.0),
        ("total_supply", "1000000000", "price", 70187.0),
        ("roi", '{"times":42.743183414054535,"currency":"btc","percentage":4274.3}', "price", 70187.0),
    ],
)
def test_it_reads_the_odd_values_of_real_answers(field: str, written: str, key: str, value: object) -> None:
    fields: dict[str, object] = msgspec.json.decode(COIN)
    coin = msgspec.json.encode(fields | {field: msgspec.Raw(written.encode())})
    (quote,) = listed(coin).quotes
    assert getattr(quote, key) == value
    assert msgspec.json.decode(msgspec.json.encode(quote), type=Quote) == quote


def test_a_coin_whose_fields_of_the_day_are_all_null_has_its_price() -> None:
    nulls = {"price_change_percentage_24h": None, "high_24h": None, "low_24h": None, "price_change_24h": None}
    (quote,) = listed(msgspec.json.encode(msgspec.json.decode(COIN) | nulls)).quotes
    assert (quote.price, quote.change_24h) == (70187.0, None)


def test_250_coins_are_one_answer() -> None:
    coins = [COIN.replace(b"bitcoin", b"coin-%d" % number) for number in range(250)]
    part = listed(*coins[:100], COIN.replace(b'"btc"', b"null"), *coins[100:])
    assert [quote.coin for quote in part.quotes] == [f"coin-{number}" for number in range(250)]
    assert list(part.odd) == ["bitcoin"]


@pytest.mark.parametrize(
    ("read", "good"),
    [
        (lambda body: coingecko.read(body, "usd"), b"[" + COIN + b"]"),
        (defillama.read, b'{"coins":{"x":' + POINT + b"}}"),
    ],
    ids=["CoinGecko", "DefiLlama"],
)
@pytest.mark.parametrize("bad", [b"", b"null", b"7", b"<html></html>", b"\xff", b"[" * 100_000, b'{"coins":[1]}'])
def test_it_refuses_a_body_that_has_no_coins(read: Callable[[bytes], Part], good: bytes, bad: bytes) -> None:
    assert len(read(good).quotes) == 1
    for body in (bad, good[:-2], good.replace(b"70187", b"NaN")):
        with pytest.raises((ValueError, RecursionError)):
            read(body)
