"""What CoinGecko's client does when the answer is late, bad, too long, or a refusal."""

import asyncio
import json
import logging
import re
import time

import pytest
from prometheus_client import REGISTRY

from crypto_updates.clock.timetable import MAX_FETCH_SECONDS
from tests.unit.test_market_coingecko import KEY, SLOT, Answer, Api, coin, known, playing, reply
from worker.market import MarketError, client
from worker.market.client import RETRY_SECONDS


async def hang(api: Api, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - one form for all answers
    await asyncio.Event().wait()


async def flood(api: Api, writer: asyncio.StreamWriter) -> None:
    """50 MB, counted as far as the reader took them."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 50000000\r\n\r\n[")
    for _ in range(500):
        writer.write(b" " * 100_000)
        await writer.drain()
        api.sent += 100_000


@pytest.mark.parametrize(
    "bad",
    [
        reply(500, b"<html>oops</html>"),
        reply(503, b"", retry_after="0"),
        reply(429, b'{"status":{"error_code":429,"error_message":"You have exceeded the Rate Limit."}}'),
        reply(200, b"<!DOCTYPE html><html><title>Just a moment...</title></html>", content_type="text/html"),
        reply(200, b'[{"id":"bitcoin","symb', length=2000),
        reply(200, b'[{"id":"bitcoin","symb'),
        reply(200, json.dumps([coin("bitcoin") | {"current_price": float("nan")}]).encode()),
        reply(429, b"", retry_after="0.0"),
        reply(429, b"", retry_after="nonsense"),
        reply(429, b"", retry_after="Thu, 01 Jan 1970 00:00:00 GMT"),
        reply(520, b"<html>origin</html>"),
        reply(200, b"x", content_encoding="gzip"),
        reply(200, b"", length=1),
    ],
    ids=[
        "500",
        "503",
        "429",
        "html",
        "cut off",
        "truncated",
        "nan",
        "429, 0.0 s",
        "429, nonsense",
        "429, long ago",
        "520",
        "gzip",
        "no body",
    ],
)
async def test_it_tries_again_after_a_bad_answer(bad: Answer) -> None:
    async with playing(bad, known()) as (api, market):
        assert len(await market.fetch(SLOT, 5)) == 2
    assert len(api.requests) == 2


async def test_it_gives_up_after_its_retries() -> None:
    async with playing(reply(502, b"")) as (api, market):
        with pytest.raises(MarketError, match="502 Bad Gateway"):
            await market.fetch(SLOT, 5)
    assert len(api.requests) == 4


async def test_it_gives_up_where_nobody_listens() -> None:
    async with playing(url="http://127.0.0.1:9") as (_, market):
        with pytest.raises(MarketError, match=r"CoinGecko at 127\.0\.0\.1 failed: ConnectError"):
            await market.fetch(SLOT, 5)


async def test_retry_after_is_honoured_where_it_fits() -> None:
    async with playing(reply(429, b"", retry_after="1"), known()) as (_, market):
        start = time.monotonic()
        assert len(await market.fetch(SLOT, 10)) == 2
    assert 0.99 <= time.monotonic() - start < 5


async def test_a_retry_after_beyond_the_budget_fails_at_once() -> None:
    async with playing(reply(429, b"", retry_after="119")) as (api, market):
        start = time.monotonic()
        with pytest.raises(MarketError, match=r"429 Too Many Requests: retry-after 119 s; .* too late"):
            await market.fetch(SLOT, 20)
    assert time.monotonic() - start < 5
    assert len(api.requests) == 1


async def test_a_pause_beyond_the_budget_is_not_waited_for() -> None:
    async with playing(reply(500, b""), waits=(60,)) as (_, market):
        start = time.monotonic()
        with pytest.raises(MarketError, match="500 Internal Server Error"):
            await market.fetch(SLOT, 20)
    assert time.monotonic() - start < 5


async def test_the_budget_holds_for_a_server_that_hangs_and_the_next_fetch_works() -> None:
    async with playing(hang, known()) as (_, market):
        start = time.monotonic()
        with pytest.raises(MarketError, match=r"no whole answer within 0\.5 s"):
            await market.fetch(SLOT, 0.5)
        assert time.monotonic() - start < 4
        assert len(await market.fetch(SLOT, 5)) == 2


async def test_it_tries_as_long_as_the_budget_lasts_with_growing_waits(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A random wait could end so shortly before the deadline that the last try is cut off.
    monkeypatch.setattr(client.random, "uniform", lambda _, most: most)
    caplog.set_level(logging.INFO)
    async with playing(reply(429, b""), waits=[pause / 40 for pause in RETRY_SECONDS]) as (api, market):
        start = time.monotonic()
        with pytest.raises(MarketError, match=r"429 Too Many Requests; the next try in .* too late"):
            await market.fetch(SLOT, 240 / 40)
        assert 2.5 < time.monotonic() - start < 10
    assert 6 <= len(api.requests) <= 14
    waits = [float(wait) for wait in re.findall(r"retrying in (.*?) s", caplog.text)]
    assert waits[:6] == sorted(waits[:6])


def test_the_waits_grow_to_a_minute_and_last_for_the_longest_budget() -> None:
    assert list(RETRY_SECONDS) == sorted(RETRY_SECONDS)
    assert max(RETRY_SECONDS) == 60
    assert sum(RETRY_SECONDS) / 2 > MAX_FETCH_SECONDS


async def test_a_retry_after_without_end_is_no_traceback() -> None:
    async with playing(reply(429, b"", retry_after="9" * 400)) as (_, market):
        with pytest.raises(MarketError, match=r"retry-after inf s; .* too late"):
            await market.fetch(SLOT, 20)


async def test_a_part_that_fails_costs_only_its_coins(caplog: pytest.LogCaptureFixture) -> None:
    coins = tuple(f"coin-{number}" for number in range(600))
    async with playing(known(), reply(401, b""), coins=coins) as (api, market):
        quotes = await market.fetch(SLOT, 5)
    assert [quote.coin for quote in quotes] == list(coins[:250])
    assert len(api.requests) == 2
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    problem = "[MARKET] CoinGecko answered 401 Unauthorized (check COINGECKO_API_KEY)"
    assert line == f"{problem}; 250 of 600 coins have quotes, the others are left out"


async def stall(api: Api, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - one form for all answers
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[{")
    await writer.drain()
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("bad", "status", "budget"), [(stall, "timeout", 1), (flood, "error", 20)], ids=["stall-timeout", "flood-error"]
)
async def test_an_answer_that_does_not_come_whole_is_not_counted_as_a_200(
    bad: Answer, status: str, budget: float
) -> None:
    before = counted(status), counted("200")
    async with playing(bad) as (_, market):
        with pytest.raises(MarketError):
            await market.fetch(SLOT, budget)
    assert (counted(status), counted("200")) == (before[0] + 1, before[1])


async def test_the_requests_are_counted_by_their_status() -> None:
    answers = (reply(520, b""), reply(499, b""), reply(200, b"", length=1), reply(429, b""), known())
    before = {status: counted(status) for status in ("5xx", "4xx", "error", "429", "200", "timeout")}
    async with playing(*answers) as (_, market):
        with pytest.raises(MarketError):  # 499 is no reason to try again
            await market.fetch(SLOT, 5)
        await market.fetch(SLOT, 5)
    async with playing(hang) as (_, market):
        with pytest.raises(MarketError):
            await market.fetch(SLOT, 1)
    assert {status: counted(status) - count for status, count in before.items()} == dict.fromkeys(before, 1)


def counted(status: str) -> float:
    return REGISTRY.get_sample_value("crypto_market_requests_total", {"source": "coingecko", "status": status}) or 0


async def test_a_stranger_who_speaks_no_http_is_told_in_a_short_line() -> None:
    async def babble(api: Api, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - one form for all answers
        writer.write(b"\x1b[31m" + b"x" * 60_000 + b"\r\n\r\n")
        await writer.drain()
        writer.close()

    async with playing(babble, waits=()) as (_, market):
        with pytest.raises(MarketError, match="RemoteProtocolError") as failed:
            await market.fetch(SLOT, 5)
    assert len(str(failed.value)) < 300
    assert str(failed.value).isprintable()


async def test_the_budget_is_for_all_requests_together(caplog: pytest.LogCaptureFixture) -> None:
    async def slow(api: Api, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2)
        await known()(api, writer)

    async with playing(slow, coins=tuple(f"coin-{i}" for i in range(2500))) as (api, market):
        assert len(await market.fetch(SLOT, 6)) in (250, 500)
    assert len(api.requests) < 5
    assert "[MARKET] CoinGecko gave no whole answer within 6 s; " in caplog.text


async def test_50_mb_are_not_read_to_their_end() -> None:
    async with playing(flood) as (api, market):
        with pytest.raises(MarketError, match="more than 5,000,000 bytes"):
            await market.fetch(SLOT, 20)
    assert 4_000_000 < api.sent < 25_000_000
    assert len(api.requests) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_request_that_is_wrong_is_not_sent_again(status: int) -> None:
    async with playing(reply(status, b'{"error":"invalid vs_currency"}')) as (api, market):
        with pytest.raises(MarketError, match=f"{status} .*: invalid vs_currency"):
            await market.fetch(SLOT, 5)
    assert len(api.requests) == 1


async def test_a_redirect_is_not_followed() -> None:
    async with playing(reply(302, b"", location="/elsewhere"), known()) as (api, market):
        with pytest.raises(MarketError, match=r"302 Found .*COINGECKO_URL"):
            await market.fetch(SLOT, 5)
    assert len(api.requests) == 1


async def test_a_wrong_key_is_explained_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"status": {"error_code": 10010, "error_message": f"{KEY} is a Pro API key"}}).encode()
    async with playing(reply(500, body), reply(400, body), plan="demo", api_key=KEY) as (_, market):
        with pytest.raises(MarketError, match=r"400 Bad Request: 10010 \*\*\* is a Pro .*COINGECKO_PLAN=pro") as caught:
            await market.fetch(SLOT, 5)
    assert KEY not in str(caught.value)
    assert "retrying" in caplog.text
    assert KEY not in caplog.text
