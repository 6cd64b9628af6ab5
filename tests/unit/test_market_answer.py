"""What an answer other than quotes means, without a network: what went wrong, and how long to wait."""

from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.market import coingecko, defillama
from worker.market.answer import MAX_CHARACTERS, named, problem, seconds

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "body",
    [
        {"status": {"error_code": 10010, "error_message": "Wrong key."}},
        {"error": {"status": {"error_code": 10010, "error_message": "Wrong key."}}},
        {"error_code": 10010, "status": {"error_message": "Wrong key."}},
        {"error_code": 10010, "error_message": "Wrong key."},
        {"error_code": 10010, "error": "Wrong key."},
        {"error_code": 10010, "message": "Wrong key."},
    ],
)
def test_it_finds_the_reason_in_each_form_of_error(body: object) -> None:
    text = problem("CoinGecko", 400, msgspec.json.encode(body), None, coingecko.HINTS)
    assert text.startswith("CoinGecko answered 400 Bad Request: 10010 Wrong key. (")
    assert "COINGECKO_PLAN=pro" in text


@pytest.mark.parametrize(
    ("status", "code", "setting"),
    [
        (401, 10002, "set COINGECKO_API_KEY"),
        (401, 0, "check COINGECKO_API_KEY"),
        (403, 0, "check COINGECKO_PLAN and COINGECKO_API_KEY"),
        (400, 10011, "COINGECKO_PLAN=demo"),
        (401, 10012, "COINGECKO_PLAN does not include a history that long"),
        (302, 0, "check COINGECKO_URL"),
    ],
)
def test_it_says_which_setting_to_check(status: int, code: int, setting: str) -> None:
    assert setting in problem("CoinGecko", status, b'{"status":{"error_code":%d}}' % code, None, coingecko.HINTS)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"error_code":"x"}', b'{"error":' * 100_000])
def test_an_error_without_a_reason_is_its_status(body: bytes) -> None:
    assert problem("CoinGecko", 500, body, None, coingecko.HINTS) == "CoinGecko answered 500 Internal Server Error"


def test_a_request_that_lacks_something_is_told_in_the_words_of_the_source() -> None:
    text = problem("CoinGecko", 422, b'{"error":"Missing parameter vs_currency"}', None, coingecko.HINTS)
    assert text == "CoinGecko answered 422 Unprocessable Entity: Missing parameter vs_currency"


def test_a_status_that_no_standard_names_is_a_number() -> None:
    assert problem("CoinGecko", 520, b"", 7.0, coingecko.HINTS) == "CoinGecko answered 520: retry-after 7 s"


def test_a_strangers_words_stay_on_one_short_line() -> None:
    text = problem("CoinGecko", 400, msgspec.json.encode({"error": "a\n\x1b[31mb" + "c" * 1000}), None, coingecko.HINTS)
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
        ("1.5", 1.5),
        ("2.", 2.0),
        ("9" * 400 + ".5", float("inf")),
        ("-5", None),
        ("1e3", None),
        ("nan", None),
        ("1.5.5", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 251_635_118_339.0),
        ("Thu, 01 Jan 99999 12:01:30 GMT", None),
        ("Thu, 99 Jan 2026 12:01:30 GMT", None),
        ("Thu, 01 Jan 2026 12:01:30 +99999999", None),
        ("Thu, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("soon", None),
        ("", None),
        ("²", None),
    ],
)
def test_it_reads_retry_after_as_seconds_or_as_a_date(header: str | None, wait: float | None) -> None:
    assert seconds(header, NOW) == wait
    assert seconds(header, NOW.astimezone(timezone(timedelta(hours=9)))) == wait


@given(header=st.text() | st.from_regex(r"[0-9]+(\.[0-9]+)?|\w{3}, \d+ (Jan|Feb) \d+ \d+:\d+:\d+ ([+-]\d+|GMT)"))
def test_no_retry_after_is_a_traceback(header: str) -> None:
    wait = seconds(header, NOW)
    assert wait is None or wait >= 0


def test_many_coins_are_named_in_a_short_line() -> None:
    assert named(["bitcoin", "ethereum"]) == "bitcoin, ethereum"
    assert named(f"coin-{number}" for number in range(30)).endswith("coin-19 and 10 more")


@pytest.mark.parametrize("body", [{"error": "x" * 5_000_000}, {"error": {"error": {"error_message": "x" * 100_000}}}])
def test_a_strangers_words_are_cut(body: object) -> None:
    text = problem("DefiLlama", 400, msgspec.json.encode(body), None, defillama.HINTS)
    assert MAX_CHARACTERS < len(text) < MAX_CHARACTERS + 50
