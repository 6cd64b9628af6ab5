"""How CoinGecko's answers are read, without a network."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest

from worker.market import TemporaryMarketError
from worker.market.answer import problem, quotes, seconds

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)

COIN = (
    b'{"id":"bitcoin","symbol":"btc","current_price":70187,"market_cap":1381651251183,'
    b'"price_change_percentage_24h":3.12502,"last_updated":"2024-04-07T16:49:31.736+02:00"}'
)


def test_it_reads_a_quote() -> None:
    (quote,) = quotes(b"[" + COIN + b"]", "usd")
    assert (quote.coin, quote.symbol, quote.currency) == ("bitcoin", "btc", "usd")
    assert (quote.price, quote.market_cap, quote.change_24h) == (70187.0, 1381651251183.0, 3.12502)
    assert quote.updated_at == datetime(2024, 4, 7, 14, 49, 31, 736000, tzinfo=UTC)
    assert quote.updated_at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"70187", b"NaN"),
        (b"70187", b"-Infinity"),
        (b"70187", b"1e999"),
        (b"70187", b'"70187"'),
        (b'"btc"', b"null"),
        (b'"current_price":70187,', b""),
        (b"2024-04-07T16:49:31.736+02:00", b"2024-04-07T16:49:31"),
        (b"2024-04-07T16:49:31.736+02:00", b"0001-01-01T00:00:00+02:00"),
        (b'"symbol"', b'"roi":' + b"[" * 100_000),
    ],
)
def test_it_refuses_a_coin_that_it_cannot_trust(old: bytes, new: bytes) -> None:
    assert old in COIN
    with pytest.raises(TemporaryMarketError, match="not a list of coins"):
        quotes(b"[" + COIN.replace(old, new) + b"]", "usd")


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b"[" + COIN, b"<html></html>", b"\xff", b"[" * 100_000])
def test_it_refuses_a_body_that_is_no_list_of_coins(body: bytes) -> None:
    with pytest.raises(TemporaryMarketError, match="not a list of coins"):
        quotes(body, "usd")


@pytest.mark.parametrize(
    "body",
    [
        {"status": {"error_code": 10010, "error_message": "Wrong key."}},
        {"error": {"status": {"error_code": 10010, "error_message": "Wrong key."}}},
        {"error_code": 10010, "status": {"error_message": "Wrong key."}},
        {"error_code": 10010, "error_message": "Wrong key."},
        {"error_code": 10010, "error": "Wrong key."},
    ],
)
def test_it_finds_the_reason_in_each_form_of_error(body: object) -> None:
    text = problem(400, msgspec.json.encode(body), None)
    assert text.startswith("CoinGecko answered 400 Bad Request: 10010 Wrong key. (")
    assert "COINGECKO_PLAN=pro" in text


@pytest.mark.parametrize(
    ("status", "code", "setting"),
    [
        (401, 10002, "set COINGECKO_API_KEY"),
        (401, 0, "check COINGECKO_API_KEY"),
        (403, 0, "check COINGECKO_PLAN and COINGECKO_API_KEY"),
        (400, 10011, "COINGECKO_PLAN=demo"),
        (302, 0, "check COINGECKO_URL"),
    ],
)
def test_it_says_which_setting_to_check(status: int, code: int, setting: str) -> None:
    assert setting in problem(status, b'{"status":{"error_code":%d}}' % code, None)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error_code":"x"}', b'{"error":' * 100_000])
def test_an_error_without_a_reason_is_its_status(body: bytes) -> None:
    assert problem(500, body, None) == "CoinGecko answered 500 Internal Server Error"


def test_a_status_that_no_standard_names_is_a_number() -> None:
    assert problem(520, b"", 7.0) == "CoinGecko answered 520: retry-after 7 s"


def test_a_strangers_words_stay_on_one_short_line() -> None:
    text = problem(400, msgspec.json.encode({"error": "a\n\x1b[31mb" + "c" * 1000}), None)
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        (None, None),
        ("119", 119.0),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:01:30 GMT", 90.0),
        ("Thu, 01 Jan 2026 12:01:30 -0000", 90.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("9" * 5000, float("inf")),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("²", None),
    ],
)
def test_it_reads_retry_after_as_seconds_or_as_a_date(header: str | None, wait: float | None) -> None:
    assert seconds(header, NOW) == wait
    assert seconds(header, NOW.astimezone(timezone(timedelta(hours=9)))) == wait
