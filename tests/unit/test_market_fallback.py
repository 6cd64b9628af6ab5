"""Two sources as one market: what the second is asked for, when, and who is named for the data."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from msgspec import UNSET

from crypto_updates.bus.event import Event
from crypto_updates.clock.cron import Cron
from tests.unit.test_market_coingecko import Answer, Api, coin, known, reply, serving
from tests.unit.test_market_defillama import NOW, PAST, QUARTERS, everything, llama, point
from tests.unit.test_market_faults import hang
from worker import tick
from worker.market import MarketError, client, fallback
from worker.market.client import RETRY_SECONDS
from worker.market.coingecko import CoinGecko
from worker.market.defillama import DefiLlama
from worker.market.fallback import MAX_TURN_SECONDS, Fallback

COINS = ("bitcoin", "ethereum", "polygon-ecosystem-token")


@asynccontextmanager
async def playing(
    first: Answer,
    second: Answer | None = None,
    cron: Cron = QUARTERS,
    speed: float = 100,
    coins: tuple[str, ...] = COINS,
) -> AsyncIterator[tuple[list[Api], Fallback]]:
    """Both servers, and the market of both, whose waits are so many times shorter than they are."""
    waits = [pause / speed for pause in RETRY_SECONDS]
    async with AsyncExitStack() as closing:
        apis, urls = zip(
            *[await closing.enter_async_context(serving([each])) for each in (first, second or llama())], strict=True
        )
        market = Fallback(
            CoinGecko(coins=coins, currency="usd", url=urls[0], waits=waits),
            DefiLlama(coins=coins, cron=cron, url=urls[1], waits=waits),
            coins,
        )
        closing.push_async_callback(market.close)
        for source in market._sources:
            assert source._client.http  # made before the clock runs, because its certificates take a tenth of a second
        yield list(apis), market


def sources(made: Event) -> list[object]:
    """The source of each quote, which there must be one of for each coin."""
    assert made.data
    assert [quote.coin for quote in made.data] == list(COINS)
    return [quote.source for quote in made.data]


@pytest.mark.parametrize(
    "bad",
    [
        reply(503, b""),
        reply(429, b""),
        reply(429, b"", retry_after="119"),
        reply(401, b'{"status":{"error_code":10002}}'),
        reply(302, b"", location="/elsewhere"),
        reply(200, b"<!DOCTYPE html><title>Just a moment...</title>", content_type="text/html"),
        reply(200, b"[]"),
        reply(200, json.dumps([coin("bitcoin") | {"symbol": None}]).encode()),
        hang,
    ],
    ids=["down", "limited", "limited for long", "no key", "moved", "html", "no coin", "odd", "hanging"],
)
async def test_a_first_source_that_gives_nothing_is_replaced_within_the_budget(bad: Answer) -> None:
    async with playing(bad) as (_, market):
        start = time.monotonic()
        made = await tick.fetch(NOW, market, 10)
        assert time.monotonic() - start < 10
    assert made.source == "defillama"
    assert sources(made) == [UNSET] * 3


async def test_a_first_source_that_gives_all_is_the_only_one_asked() -> None:
    async with playing(known()) as ((_, second), market):
        made = await tick.fetch(NOW, market, 3)
    assert (made.source, sources(made)) == ("coingecko", [UNSET] * 3)
    assert second.requests == []


@pytest.mark.parametrize(("seconds", "source"), [(12, "coingecko"), (90, "defillama")])
async def test_a_short_limit_is_waited_for_and_a_long_one_is_not(
    seconds: float, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "MAX_TURN_SECONDS", MAX_TURN_SECONDS / 20)
    begin = 0.0  # the first request

    async def limited(api: Api, writer: asyncio.StreamWriter) -> None:
        nonlocal begin
        begin = begin or time.monotonic()
        is_over = time.monotonic() - begin > seconds / 20
        await (known() if is_over else reply(429, b""))(api, writer)

    async with playing(limited, speed=20) as ((first, _), market):
        start = time.monotonic()
        made = await tick.fetch(NOW, market, 240 / 20)
        assert time.monotonic() - start < 6
    assert made.source == source
    assert len(first.requests) < 10


async def test_with_both_limited_the_first_is_asked_again_and_answers_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fallback, "MAX_TURN_SECONDS", MAX_TURN_SECONDS / 100)
    begin = time.monotonic()

    async def limited(api: Api, writer: asyncio.StreamWriter) -> None:
        is_over = time.monotonic() - begin > 1.5
        await (known() if is_over else reply(429, b"", retry_after="0.1"))(api, writer)

    async with playing(limited, reply(503, b"")) as (_, market):
        made = await tick.fetch(NOW, market, 240 / 100)
    assert (made.source, sources(made)) == ("coingecko", [UNSET] * 3)


async def test_without_a_network_an_event_is_not_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_CONNECTING_SECONDS", 0.1)
    nowhere = "http://127.0.0.1:1"
    waits = (0.01, 0.02, 0.04, 0.08, 0.16, 60.0)
    market = Fallback(
        CoinGecko(coins=COINS, currency="usd", url=nowhere, waits=waits),
        DefiLlama(coins=COINS, cron=QUARTERS, url=nowhere, waits=waits),
        COINS,
    )
    begin = time.monotonic()
    with pytest.raises(MarketError, match=r"^CoinGecko at .* failed: ConnectError .*; DefiLlama at .* failed: "):
        await market.fetch(NOW, 240)
    assert time.monotonic() - begin < 2
    await market.close()


async def test_a_coin_that_the_first_does_not_know_is_asked_of_the_second(caplog: pytest.LogCaptureFixture) -> None:
    async with playing(known("bitcoin")) as ((_, second), market):
        made = [await tick.fetch(NOW, market, 3) for _ in range(2)]
    for event in made:
        assert event.source == "coingecko+defillama"
        assert sources(event) == ["defillama", "coingecko", "coingecko"]
    assert all(request["target"].partition("?")[0].endswith("/coingecko:bitcoin") for request in second.requests)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "[MARKET] COINS: not known to CoinGecko and asked of DefiLlama: bitcoin"
    ]


async def test_a_coin_that_neither_knows_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async with playing(known("bitcoin"), llama(lambda *_: {})) as (_, market):
        for _ in range(2):
            made = await tick.fetch(NOW, market, 3)
            assert made.source == "coingecko"
            assert [quote.coin for quote in made.data or ()] == list(COINS[1:])
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "[MARKET] COINS: not known to CoinGecko and asked of DefiLlama: bitcoin",
        "[MARKET] COINS: not known to DefiLlama and left out: bitcoin",
    ]


async def test_both_failing_is_told_in_one_line() -> None:
    async with playing(reply(401, b""), reply(400, b'{"message":"no"}')) as (_, market):
        with pytest.raises(MarketError, match=r"^CoinGecko answered 401 .*; DefiLlama answered 400 Bad Request: no$"):
            await market.fetch(NOW, 3)


async def test_a_second_source_that_fails_costs_nothing_of_the_first(caplog: pytest.LogCaptureFixture) -> None:
    async with playing(known("bitcoin"), hang) as (_, market):
        start = time.monotonic()
        made = await tick.fetch(NOW, market, 2)
        assert time.monotonic() - start < 4
    assert made.source == "coingecko"
    assert "[MARKET] DefiLlama gave no whole answer within" in caplog.text
    assert "2 of 3 coins have data" in caplog.text


async def test_a_slot_of_the_past_is_asked_only_of_the_source_that_knows_it() -> None:
    async with playing(known()) as ((first, _), market):
        made = await tick.make(PAST, tick.knowing(market, PAST, QUARTERS), 3)
    assert first.requests == []
    assert (made.source, sources(made)) == ("defillama", [UNSET] * 3)
    assert {quote.updated_at for quote in made.data or ()} == {PAST}


async def test_a_quote_without_a_price_is_asked_of_the_second_and_published_when_there_is_no_other() -> None:
    def points(ids: list[str], _: int | None) -> dict[str, Any]:
        return {name: point(0 if name.endswith("ethereum") else 2.5, 1e9) for name in ids}

    async with playing(known(current_price=None), llama(points)) as (_, market):
        made = await tick.fetch(NOW, market, 3)
    assert [quote.price for quote in made.data or ()] == [2.5, None, 2.5]
    assert sources(made) == ["defillama", "coingecko", "defillama"]


@pytest.mark.parametrize(
    ("no", "seconds"),
    [
        (reply(429, b"", retry_after="3600"), 240),
        (reply(401, b'{"status":{"error_code":10010}}'), 3),
        (reply(200, json.dumps([coin(name) | {"symbol": None} for name in COINS]).encode()), 3),
        (reply(200, b"[]"), 3),
    ],
    ids=["limited for an hour", "no key", "odd", "unknown"],
)
@pytest.mark.parametrize("is_lacking", [True, False], ids=["the second lacks a coin", "the second is refused"])
async def test_a_source_that_said_no_is_asked_once(no: Answer, seconds: float, *, is_lacking: bool) -> None:
    second = llama(lambda ids, at: everything(ids[:2], at)) if is_lacking else reply(400, b"")
    async with playing(no, second) as ((first, _), market):
        begin = time.monotonic()
        made = await tick.make(NOW, market, seconds)
        assert time.monotonic() - begin < 2
    assert len(made.data or ()) == (2 if is_lacking else 0)
    assert len(first.requests) == 1


async def test_a_source_is_not_asked_again_before_the_wait_that_it_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "MAX_TURN_SECONDS", 3)
    times = []

    async def limited(api: Api, writer: asyncio.StreamWriter) -> None:
        times.append(time.monotonic())
        await (known() if len(times) > 1 else reply(429, b"", retry_after="4"))(api, writer)

    async with playing(limited, reply(400, b"")) as (_, market):
        made = await tick.fetch(NOW, market, 20)
    assert made.source == "coingecko"
    assert times[1] - times[0] >= 4


async def test_a_first_source_that_gave_a_part_is_asked_again_for_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "MAX_TURN_SECONDS", MAX_TURN_SECONDS / 10)
    begin = time.monotonic()

    async def limited(api: Api, writer: asyncio.StreamWriter) -> None:
        is_good = len(api.requests) == 1 or time.monotonic() - begin > 6
        await (known() if is_good else reply(429, b""))(api, writer)

    coins = tuple(f"coin-{number}" for number in range(300))
    async with playing(limited, reply(400, b""), speed=10, coins=coins) as ((first, _), market):
        made = await tick.fetch(NOW, market, 240 / 10)
    assert [quote.coin for quote in made.data or ()] == list(coins)
    assert {len(ids) for ids in first.asked[1:]} == {50}


async def test_a_first_source_that_was_unreachable_is_asked_again_while_the_second_is_down(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "MAX_CONNECTING_SECONDS", 0.1)
    monkeypatch.setattr(fallback, "MAX_TURN_SECONDS", MAX_TURN_SECONDS / 100)
    async with playing(known(), reply(503, b"")) as (_, market):
        first = market._sources[0]._client
        there, away = first.http.base_url, "http://127.0.0.1:1"
        first.http.base_url = away
        asyncio.get_running_loop().call_later(0.5, setattr, first.http, "base_url", there)
        made = await tick.fetch(NOW, market, 240 / 100)
    assert (made.source, sources(made)) == ("coingecko", [UNSET] * 3)


@pytest.mark.parametrize("answer", ["second", "first"])
async def test_a_bug_in_one_source_costs_nothing_of_the_other(
    answer: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise LookupError("bug")

    async with playing(known("bitcoin")) as (_, market):
        monkeypatch.setattr(market._sources[answer == "first"], "_request", broken)
        made = await tick.fetch(NOW, market, 3)
    names = {"first": ("coingecko", COINS[1:]), "second": ("defillama", COINS)}
    assert (made.source, tuple(quote.coin for quote in made.data or ())) == names[answer]
    assert "LookupError: bug" in caplog.text
