"""What CoinGecko's client does when the answer is late, bad, too long, or a refusal."""

import asyncio
import json
import logging
import time

import pytest

from tests.unit.test_market_coingecko import KEY, SLOT, Answer, Api, coin, known, playing, reply
from worker.market import MarketError


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
        reply(200, b"x", content_encoding="gzip"),
        reply(200, b"", length=1),
    ],
    ids=["500", "503", "429", "html", "cut off", "truncated", "nan", "gzip", "no body"],
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
        with pytest.raises(MarketError, match=r"no whole answer within 0\.2 s"):
            await market.fetch(SLOT, 0.2)
        assert time.monotonic() - start < 2
        assert len(await market.fetch(SLOT, 5)) == 2


async def test_the_budget_is_for_all_requests_together() -> None:
    async def slow(api: Api, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.2)
        await known()(api, writer)

    async with playing(slow, coins=tuple(f"coin-{i}" for i in range(2500))) as (api, market):
        with pytest.raises(MarketError, match=r"no whole answer within 0\.5 s"):
            await market.fetch(SLOT, 0.5)
    assert len(api.requests) < 5


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
