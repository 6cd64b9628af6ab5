"""DefiLlama's client against a server on loopback that plays the real API."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from crypto_updates.bus.event import Quote
from crypto_updates.clock.cron import Cron
from tests.unit.test_market_coingecko import Answer, Api, reply, serving
from tests.unit.test_market_faults import hang
from worker.market import MarketError, UnknownCoinsError
from worker.market.defillama import DefiLlama

QUARTERS = Cron("*/15 * * * *")
PAST = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
# Not past for as long as the tests run.
NOW = QUARTERS.next(datetime.now(UTC))
# What the API answers for a path without its query, as an object of JSON.
Points = Callable[[list[str], int | None], dict[str, Any]]


def point(price: float, at: float) -> dict[str, Any]:
    return {"price": price, "symbol": "BTC", "timestamp": at, "confidence": 0.99}


def everything(ids: list[str], at: int | None) -> dict[str, Any]:
    """A point of each coin at the second asked for, or a minute ago."""
    second = datetime.now(UTC).timestamp() - 60 if at is None else at
    return {name: point(1.5, second) for name in ids}


def llama(points: Points = everything, change: object = -2.5) -> Answer:
    async def answer(api: Api, writer: asyncio.StreamWriter) -> None:
        _, kind, *place = urlsplit(api.requests[-1]["target"]).path.split("/")
        ids = unquote(place[-1]).split(",")
        at = int(place[1]) if place[0] == "historical" else None
        coins = dict.fromkeys(ids, change) if kind == "percentage" else points(ids, at)
        await reply(200, json.dumps({"coins": coins}).encode())(api, writer)

    return answer


@contextlib.asynccontextmanager
async def playing(
    *answers: Answer, coins: tuple[str, ...] = ("bitcoin", "ethereum"), cron: Cron = QUARTERS
) -> AsyncIterator[tuple[Api, DefiLlama]]:
    async with serving(answers or (llama(),)) as (api, url):
        market = DefiLlama(coins=coins, cron=cron, url=url, waits=(0, 0, 0))
        yield api, market
        await market.close()


def asked(api: Api) -> list[tuple[str, dict[str, list[str]]]]:
    """The path and the query of each request."""
    urls = [urlsplit(request["target"]) for request in api.requests]
    return [(url.path, parse_qs(url.query)) for url in urls]


async def test_a_slot_of_now_has_the_current_prices_and_the_change_of_a_day() -> None:
    async with playing() as (api, market):
        bitcoin, ethereum = await market.fetch(NOW, 5)
    assert (bitcoin.coin, bitcoin.symbol, bitcoin.price, bitcoin.currency) == ("bitcoin", "btc", 1.5, "usd")
    assert (bitcoin.market_cap, bitcoin.change_24h) == (None, -2.5)
    assert bitcoin.updated_at is not None
    assert timedelta(seconds=50) < datetime.now(UTC) - bitcoin.updated_at < timedelta(seconds=90)
    assert ethereum.coin == "ethereum"
    assert asked(api) == [
        ("/prices/current/coingecko:bitcoin,coingecko:ethereum", {"searchWidth": ["4h"]}),
        ("/percentage/coingecko:bitcoin,coingecko:ethereum", {"period": ["24h"], "lookForward": ["false"]}),
    ]


async def test_a_slot_of_the_past_has_the_prices_of_its_own_instant() -> None:
    async with playing() as (api, market):
        quotes = await market.past.fetch(PAST, 5)
    assert [(quote.updated_at, quote.change_24h) for quote in quotes] == [(PAST, -2.5)] * 2
    (path, query), (_, changes) = asked(api)
    second = str(int(PAST.timestamp()))
    assert path == f"/prices/historical/{second}/coingecko:bitcoin,coingecko:ethereum"
    assert query == {"searchWidth": ["450"]}
    assert changes["timestamp"] == [second]


@pytest.mark.parametrize(
    ("schedule", "seconds", "is_near"),
    [
        ("*/15 * * * *", 450, True),
        ("*/15 * * * *", -450, True),
        ("*/15 * * * *", 450.5, False),
        ("*/15 * * * *", -451, False),
        ("* * * * *", 30, True),
        ("* * * * *", 31, False),
        ("@daily", 12 * 3600, True),
        ("@daily", -12 * 3600 - 1, False),
        ("* * * * * *", 0, True),
        ("* * * * * *", 1, False),
    ],
)
async def test_a_point_counts_only_up_to_half_the_interval_away(
    schedule: str, seconds: float, *, is_near: bool
) -> None:
    slot = PAST.replace(hour=0)

    def points(ids: list[str], at: int | None) -> dict[str, Any]:
        return {name: point(1.5, (at or 0) + seconds) for name in ids}

    async with playing(llama(points), cron=Cron(schedule)) as (_, market):
        if is_near:
            assert {quote.updated_at for quote in await market.past.fetch(slot, 5)} == {
                slot + timedelta(seconds=seconds)
            }
        else:
            with pytest.raises(
                MarketError, match=r"DefiLlama has no price within \d.* s of 2026-01-01T00:00:00Z of bit"
            ):
                await market.past.fetch(slot, 5)


@pytest.mark.parametrize("slot", [NOW, PAST], ids=["now", "past"])
async def test_an_unknown_and_an_odd_coin_are_left_out_and_named_once(
    slot: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    def points(ids: list[str], at: int | None) -> dict[str, Any]:
        odd = point(1.5, 1e9) | {"symbol": None}
        return {ids[0]: point(1.5, at or 1e9), ids[1]: odd, "coingecko:not-asked-for": odd, "a stranger": point(1, 1)}

    async with playing(llama(points), coins=("bitcoin", "odd", "away")) as (_, market):
        for _ in range(2):
            quotes = await (market if slot == NOW else market.past).fetch(slot, 5)
            assert [quote.coin for quote in quotes] == ["bitcoin"]
    # What had no price in the past may be known today.
    unknown = ["[MARKET] COINS: not known to DefiLlama and left out: away"] if slot == NOW else []
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        "[MARKET] DefiLlama's quote cannot be read and is left out: odd: Expected `str`, got `null` - at `$.symbol`",
        *unknown,
    ]


@pytest.mark.parametrize("slot", [NOW, PAST], ids=["now", "past"])
async def test_coins_that_cannot_be_read_are_not_told_as_unknown(slot: datetime) -> None:
    async with playing(llama(lambda ids, at: {ids[0]: point(1, at or 1) | {"symbol": None}})) as (_, market):
        with pytest.raises(MarketError, match=r"^DefiLlama's quotes cannot be read: bitcoin: Expected `str`") as failed:
            await (market if slot == NOW else market.past).fetch(slot, 5)
    assert not isinstance(failed.value, UnknownCoinsError)


@pytest.mark.parametrize("slot", [NOW, PAST], ids=["now", "past"])
@pytest.mark.parametrize("way", ["refused", "hanging", "html", "odd"])
async def test_a_change_that_cannot_be_had_costs_no_price(way: str, slot: datetime) -> None:
    bad = {
        "refused": reply(400, b'{"message":"no"}'),
        "hanging": hang,
        "html": reply(200, b"<html>"),
        "odd": llama(change="many"),
    }[way]
    async with playing(llama(), bad) as (_, market):
        quotes = await asyncio.wait_for((market if slot == NOW else market.past).fetch(slot, 3), 3)
    assert [(quote.coin, quote.price, quote.change_24h) for quote in quotes] == [
        ("bitcoin", 1.5, None),
        ("ethereum", 1.5, None),
    ]


@pytest.mark.parametrize("odd", ["1" * 400, "1e999", '"many"', "null", "true", r'"\ud83d"', "[]"])
async def test_an_odd_change_costs_only_itself(odd: str) -> None:
    changes = reply(200, f'{{"coins":{{"coingecko:bitcoin":{odd},"coingecko:ethereum":-2.5}}}}'.encode())
    async with playing(llama(), changes) as (api, market):
        quotes = await market.fetch(NOW, 5)
    assert [(quote.price, quote.change_24h) for quote in quotes] == [(1.5, None), (1.5, -2.5)]
    assert len(api.requests) == 2


async def test_an_id_is_asked_for_as_it_is() -> None:
    ids = ("academy token", "UPPER.Case-2", "a/b?c#d&e%20f", "../ping", "\u20bf")
    async with playing(coins=ids) as (api, market):
        quotes: tuple[Quote, ...] = await market.fetch(NOW, 5)
    assert tuple(quote.coin for quote in quotes) == ids
    assert asked(api)[0][0] == (
        "/prices/current/coingecko:academy%20token,coingecko:UPPER.Case-2,coingecko:a%2Fb%3Fc%23d%26e%2520f"
        ",coingecko:..%2Fping,coingecko:%E2%82%BF"
    )


async def test_a_part_without_prices_of_the_past_costs_no_other_part() -> None:
    def points(ids: list[str], at: int | None) -> dict[str, Any]:
        return everything(ids[-1:], at) if "coingecko:coin-249" in ids else {}

    async with playing(llama(points), coins=tuple(f"coin-{number}" for number in range(250))) as (_, market):
        assert [quote.coin for quote in await market.past.fetch(PAST, 10)] == ["coin-249"]


async def test_250_coins_are_asked_for_in_parts() -> None:
    coins = tuple(f"coin-{number}" for number in range(250))
    async with playing(coins=coins) as (api, market):
        assert tuple(quote.coin for quote in await market.fetch(NOW, 10)) == coins
    assert [len(path.split(",")) for path, _ in asked(api)] == [100, 100, 100, 100, 50, 50]


async def test_long_ids_are_asked_for_in_requests_that_a_server_takes() -> None:
    ids = tuple(f"{number:03}" + "/" * 200 for number in range(20))
    async with playing(coins=ids) as (api, market):
        assert len(await market.fetch(NOW, 5)) == 20
    assert max(len(request["target"]) for request in api.requests) < 8_000


async def test_a_refusal_is_told_in_its_words() -> None:
    async with playing(reply(400, b'{"message":"Too many coins"}')) as (api, market):
        with pytest.raises(MarketError, match=r"^DefiLlama answered 400 Bad Request: Too many coins$"):
            await market.fetch(NOW, 5)
    assert len(api.requests) == 1
