"""CoinGecko's client against a server on loopback that plays the real API, and that server."""

import asyncio
import contextlib
import json
import logging
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support import listening
from worker.market import MarketError
from worker.market.coingecko import CoinGecko

SLOT = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
KEY = "CG-s3cr3tK3y"

Answer = Callable[["Api", asyncio.StreamWriter], Awaitable[None]]


class Api:
    """Plays its `answers` in order, and the last one again; without any, it knows each coin asked for."""

    def __init__(self, answers: Sequence[Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, str]] = []
        self.sent = 0

    @property
    def asked(self) -> list[list[str]]:
        """The ids of each request."""
        return [parse_qs(urlsplit(request["target"]).query)["ids"][0].split(",") for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._play(await reader.readuntil(b"\r\n\r\n"), writer)

    async def _play(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        target, *lines = request.decode().strip().split("\r\n")
        fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.requests.append(fields | {"target": target.split()[1]})
        answer = self.answers.pop(0) if len(self.answers) > 1 else (self.answers or [known()])[0]
        await answer(self, writer)


def reply(status: int, body: bytes, *, length: int | None = None, **headers: str) -> Answer:
    async def answer(api: Api, writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - one form for all answers
        fields = {"content-length": str(length or len(body)), "cf-ray": "8f1d2c3b4a5e6f70-FRA"} | headers
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} x\r\n{lines}\r\n".encode() + body)
        await writer.drain()
        if length:
            writer.close()

    return answer


def known(*but: str, **changes: object) -> Answer:
    async def answer(api: Api, writer: asyncio.StreamWriter) -> None:
        coins = [coin(name) | changes for name in reversed(api.asked[-1]) if name not in but]
        await reply(200, json.dumps(coins).encode(), content_type="application/json; charset=utf-8")(api, writer)

    return answer


def coin(name: str) -> dict[str, Any]:
    """An item of /coins/markets with the fields of the real one."""
    return {
        "id": name,
        "symbol": name[:3],
        "name": name.title(),
        "image": "https://coin-images.coingecko.com/coins/images/1/large/bitcoin.png?1696501400",
        "current_price": 70187,
        "market_cap": 1381651251183,
        "market_cap_rank": 1,
        "fully_diluted_valuation": 1474623675796,
        "total_volume": 20154184933,
        "high_24h": 70215,
        "low_24h": 68060,
        "price_change_24h": 2126.88,
        "price_change_percentage_24h": 3.12502,
        "market_cap_change_24h": 44287678051,
        "market_cap_change_percentage_24h": 3.31157,
        "circulating_supply": 19675987.0,
        "total_supply": 21000000.0,
        "max_supply": None,
        "ath": 73738,
        "ath_change_percentage": -4.77063,
        "ath_date": "2024-03-14T07:10:36.635Z",
        "atl": 67.81,
        "roi": {"times": 46.98, "currency": "btc", "percentage": 4698.2},
        "last_updated": "2024-04-07T16:49:31.736Z",
    }


@contextlib.asynccontextmanager
async def serving(answers: Sequence[Answer]) -> AsyncIterator[tuple[Api, str]]:
    """The server, and its URL."""
    api = Api(answers)
    async with listening(api.serve) as port:
        yield api, f"http://127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def playing(
    *answers: Answer,
    coins: tuple[str, ...] = ("bitcoin", "ethereum"),
    user: str = "",
    **settings: Any,  # noqa: ANN401
) -> AsyncIterator[tuple[Api, CoinGecko]]:
    """The server, and a market that asks it. `settings` are CoinGecko's own."""
    async with serving(answers) as (api, url):
        own = url.replace("//", f"//{user}") + "/api/v3"
        market = CoinGecko(**{"coins": coins, "currency": "usd", "url": own, "waits": (0, 0, 0)} | settings)
        try:
            yield api, market
        finally:
            await market.close()


async def test_it_reads_the_quotes_in_the_order_of_the_coins() -> None:
    async with playing() as (api, market):
        bitcoin, ethereum = await market.fetch(SLOT, 5)
    assert (bitcoin.coin, bitcoin.symbol, bitcoin.price, bitcoin.change_24h) == ("bitcoin", "bit", 70187.0, 3.12502)
    assert (bitcoin.currency, bitcoin.market_cap) == ("usd", 1381651251183.0)
    assert bitcoin.updated_at == datetime(2024, 4, 7, 16, 49, 31, 736000, tzinfo=UTC)
    assert ethereum.coin == "ethereum"
    assert api.requests[0]["target"].startswith("/api/v3/coins/markets?vs_currency=usd&")
    assert api.requests[0]["user-agent"].startswith("crypto-updates/")
    assert api.requests[0]["accept-encoding"] == "identity"


async def test_null_fields_are_unknown_values() -> None:
    nulls = known(current_price=None, market_cap=None, price_change_percentage_24h=None, last_updated=None, image=None)
    async with playing(nulls) as (_, market):
        quote = (await market.fetch(SLOT, 5))[0]
    assert (quote.price, quote.market_cap, quote.change_24h, quote.updated_at) == (None, None, None, None)


async def test_600_coins_are_asked_for_in_3_requests() -> None:
    coins = tuple(f"coin-{i}" for i in range(600))
    async with playing(coins=coins) as (api, market):
        quotes = await market.fetch(SLOT, 10)
    assert tuple(quote.coin for quote in quotes) == coins
    assert [len(ids) for ids in api.asked] == [250, 250, 100]
    assert all("per_page=250" in request["target"] for request in api.requests)


@pytest.mark.parametrize(
    ("plan", "header"), [("public", None), ("demo", "x-cg-demo-api-key"), ("pro", "x-cg-pro-api-key")]
)
async def test_each_plan_has_its_own_header(plan: str, header: str | None) -> None:
    async with playing(plan=plan, api_key=KEY) as (api, market):
        await market.fetch(SLOT, 5)
    sent = {name: value for name, value in api.requests[0].items() if name.startswith("x-cg")}
    assert sent == ({header: KEY} if header else {})
    assert KEY not in api.requests[0]["target"]


async def test_a_password_in_the_url_is_sent_and_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with playing(user="user:hunter2%40%2F@") as (api, market):
        await market.fetch(SLOT, 5)
    assert b64decode(api.requests[0]["authorization"].removeprefix("Basic ")) == b"user:hunter2@/"
    assert "HTTP Request" in caplog.text
    assert "hunter2" not in caplog.text


async def test_an_unknown_coin_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    async with playing(known("ethereum"), known("ethereum"), known(), known("ethereum")) as (_, market):
        found = [len(await market.fetch(SLOT, 5)) for _ in range(4)]
    assert found == [1, 1, 2, 1]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == ["[MARKET] COINS: not known to CoinGecko and left out: ethereum"] * 2


async def test_an_odd_coin_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    odd = coin("ethereum") | {"symbol": None}
    stranger = coin("x" * 5000) | {"symbol": None}
    bad = reply(200, json.dumps([odd, stranger, None, coin("bitcoin")]).encode())
    async with playing(bad, bad, known(), bad) as (_, market):
        found = [len(await market.fetch(SLOT, 5)) for _ in range(4)]
    assert found == [1, 1, 2, 1]
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    problem = "Expected `str`, got `null` - at `$.symbol`"
    assert warnings == [f"[MARKET] CoinGecko's quote cannot be read and is left out: ethereum: {problem}"] * 2


async def test_an_id_is_asked_for_as_it_is() -> None:
    ids = ("academy token", "UPPER.Case-2", "a/b?c#d&e%20f", "../ping", "\u20bf")
    async with playing(coins=ids) as (api, market):
        assert tuple(quote.coin for quote in await market.fetch(SLOT, 5)) == ids
    assert api.asked == [list(ids)]


async def test_long_ids_are_asked_for_in_requests_that_a_server_takes() -> None:
    ids = tuple(f"{number:03}" + "\u20bf" * 200 for number in range(20))
    async with playing(coins=ids) as (api, market):
        assert len(await market.fetch(SLOT, 5)) == 20
    assert max(len(request["target"]) for request in api.requests) < 8_000
    assert [coin for asked in api.asked for coin in asked] == list(ids)


async def test_an_empty_list_means_that_no_coin_is_known() -> None:
    async with playing(reply(200, b"[]"), coins=tuple(f"coin-{i}" for i in range(30))) as (api, market):
        with pytest.raises(MarketError, match=r"knows none of coin-0, coin-1, .*coin-19 and 10 more"):
            await market.fetch(SLOT, 5)
    assert len(api.requests) == 1
