"""Both market sources on loopback: whose data the events have, also after an outage of the worker."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from crypto_updates.bus.event import text
from crypto_updates.harness.market import Market, Request
from crypto_updates.harness.plugin import Service
from crypto_updates.local import ports
from tests.e2e.conftest import Stack, gaps
from tests.e2e.test_audit import History, history
from tests.support import HANG_SECONDS, asked, asking_both, soon
from worker.once import FETCH_SECONDS

__all__ = ["history"]
# The prices of a slot to come are those of now.
ONCE = ("worker", "--once", "--dry-run", "--slot", text(datetime.now(UTC) + timedelta(days=1)))
COINS = "bitcoin,ethereum,polygon-ecosystem-token"
NOWHERE = "http://127.0.0.1:1"


class Limited(Market):
    """CoinGecko answers 429 for so many seconds since the first request, without saying how long to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    def coingecko(self, request: Request, path: Sequence[str]) -> tuple[int, bytes]:
        self.status = 429 if request.at - self.requests[0].at < self._seconds else 200
        return super().coingecko(request, path)


def test_each_event_has_data_of_all_coins_and_says_from_whom(service: Service) -> None:
    html, partly = Market(), Market()
    html.body = b"<!DOCTYPE html><title>Just a moment...</title>"
    partly.prices["polygon-ecosystem-token"] = None
    cases: dict[str, tuple[Market, dict[str, str], str]] = {
        "down": (Market(), {"COINGECKO_URL": NOWHERE}, "defillama"),
        "limited": (Limited(90), {}, "defillama"),
        "limited for a while": (Limited(4), {}, "coingecko"),
        "html": (html, {}, "defillama"),
        "partly": (partly, {}, "coingecko+defillama"),
        "hanging": (Market(delay=None), {}, "defillama"),
        "alone": (Market(), {"MARKET_SOURCE": "defillama"}, "defillama"),
        "well": (Market(), {"DEFILLAMA_URL": NOWHERE}, "coingecko"),
    }
    begin = time.monotonic()
    with ExitStack() as closing:
        workers = {
            name: service(*ONCE, **{**asking_both(closing.enter_context(market)), "COINS": COINS, **more})
            for name, (market, more, _) in cases.items()
        }
        assert {name: worker.wait(60) for name, worker in workers.items()} == dict.fromkeys(cases, 0)
    assert time.monotonic() - begin < FETCH_SECONDS + 15  # for the start of so many at once
    for name, worker in workers.items():
        event = json.loads(next(line for line in worker.lines if line.startswith("{")))
        assert (name, event["source"]) == (name, cases[name][2])
        assert ",".join(quote["coin"] for quote in event["data"]) == COINS
        given = [quote.get("source") for quote in event["data"]]
        assert given == (["coingecko", "coingecko", "defillama"] if name == "partly" else [None] * 3)


async def test_ten_slots_of_an_outage_get_the_prices_of_their_own_instants(stack: Stack) -> None:
    with Market() as market:
        # Half of the time until the next slot is for the fetch: a busy machine may need one or two seconds.
        environ = asking_both(market) | {"MISSED_SLOTS": "all", "SCHEDULE": "*/5 * * * * *"}
        await asyncio.to_thread(stack.api_stub)
        worker = stack.worker(**environ)
        assert await soon(lambda: len(stack.slots()) >= 2)
        await asyncio.to_thread(worker.stop)
        last = max(stack.slots())
        assert not await soon(lambda: False, 54)  # the outage itself, until the tenth slot is past
        worker = stack.worker(**environ)
        await asyncio.to_thread(worker.wait_for_line, "[CRON] Missed schedules", 25)
        assert await soon(lambda: max(stack.slots()) > last + timedelta(seconds=55) and not gaps(stack.slots(), 5))
    missed = [event for event in stack.events.find() if 0 < (event["timestamp"] - last).total_seconds() <= 50]
    assert len(missed) == 10
    for event in missed:
        assert event["source"] == "defillama"
        (quote,) = event["data"]
        assert quote["price"] == market.price_at(int(event["timestamp"].timestamp()))
        assert quote["updated_at"].startswith(event["timestamp"].strftime("%Y-%m-%dT%H:%M:%S"))


def test_a_repair_asks_the_fallback_for_the_prices_of_the_slots(history: History, stack: Stack) -> None:
    slots = history.slots(8)
    history.store(slots)
    history.remove(slots[2:6])
    stack.api_stub()
    with Market() as market:
        for published in (4, 0):
            done = history.audit("--repair", "--json", **asking_both(market))
            assert (done.status, done.document["repair"]["published"]) == (0, published)
            assert done.document["repair"]["without_data"] == 0
    repaired = list(stack.events.find({"timestamp": {"$in": slots[2:6]}}, sort=[("timestamp", 1)]))
    assert [event["source"] for event in repaired] == ["defillama"] * 4
    assert [event["data"][0]["price"] for event in repaired] == [
        market.price_at(int(slot.timestamp())) for slot in slots[2:6]
    ]
    assert asked(market) == []


async def test_a_frozen_coin_is_published_warned_of_once_and_counted(stack: Stack) -> None:
    class Frozen(Market):
        def coingecko(self, request: Request, path: Sequence[str]) -> tuple[int, bytes]:
            quotes = json.loads(super().coingecko(request, path)[1])
            quotes[-1]["last_updated"] = "2026-02-03T17:01:02.345Z"
            return 200, json.dumps(quotes).encode()

    def metrics() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{health}/metrics", timeout=HANG_SECONDS) as answer:
            lines = [line.rpartition(" ") for line in answer.read().decode().splitlines() if line[0] != "#"]
        return {name: float(value) for name, _, value in lines}

    health = ports.free()
    # The first market has a quarter of the ten seconds: a busy machine may need one or two.
    own = {"COINS": "bitcoin,matic-network", "HEALTH_PORT": str(health), "SCHEDULE": "*/10 * * * * *"}
    with Frozen() as market:
        await asyncio.to_thread(stack.api_stub)
        worker = stack.worker(**asking_both(market) | own)
        assert await soon(lambda: len(stack.slots()) >= 4, 2 * HANG_SECONDS)
        figures = await asyncio.to_thread(metrics)
    warnings = [line for line in worker.lines if "matic-network" in line]
    assert warnings == ["[MARKET] matic-network: last updated 2026-02-03; the listing looks frozen (warning)"]
    assert all(len(event["data"]) == 2 for event in stack.events.find())
    assert figures['crypto_market_quote_age_seconds{coin="matic-network"}'] > 24 * 3600
    assert figures['crypto_market_quote_age_seconds{coin="bitcoin"}'] < 60
    assert figures['crypto_market_requests_total{source="coingecko",status="200"}'] >= 3  # the first slot may be past
    assert figures["crypto_market_fetch_seconds_count"] >= 4
