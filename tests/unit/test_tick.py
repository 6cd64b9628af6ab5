"""What one slot takes: the time to fetch, the event made of it, and its messages."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from crypto_updates.bus import event, trace
from crypto_updates.bus.event import Event, Quote
from crypto_updates.clock.cron import Cron
from crypto_updates.clock.timetable import budget, is_past
from worker import tick
from worker.market import MarketError, outage
from worker.market.coingecko import CoinGecko
from worker.market.simulated import Simulated
from worker.metrics import FETCH_FAILURES

SLOT = datetime(2023, 11, 21, 14, 30, tzinfo=UTC)
# A server's max_payload by default.
MEGABYTE = 1024**2
BARE_MESSAGES = [("demo@2023-11-21T14:30:00Z", event.encode(Event(timestamp=SLOT)))]
# Takes no connections, so a request fails at once.
NOWHERE = "http://127.0.0.1:1"


class Broken:
    """A market that gives no quotes."""

    name = "broken"

    def __init__(self, error: Exception, past: Simulated | None = None) -> None:
        self._error = error
        self.past = past

    async def fetch(self, slot: datetime, budget: float) -> tuple[Quote, ...]:  # noqa: ARG002 - a market's interface
        raise self._error

    async def close(self) -> None:
        pass


async def whole(coins: int) -> Event:
    names = tuple(f"coin-{number}" for number in range(coins))
    return await tick.make(SLOT, Simulated(coins=names, currency="usd"), 1)


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [("*/15 * * * *", 240), ("* * * * *", 30), ("*/5 * * * * *", 2.5), ("@daily", 240), ("30,31 14 * * *", 30)],
)
def test_a_fetch_has_half_the_time_to_the_next_slot(schedule: str, seconds: float) -> None:
    assert budget(Cron(schedule), SLOT) == seconds


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [("*/15 * * * *", 450), ("* * * * *", 30), ("* * * * * *", 0.5), ("@daily", 12 * 3600), ("30,31 14 * * *", 30)],
)
def test_a_slot_is_past_after_half_of_its_interval(schedule: str, seconds: float) -> None:
    cron = Cron(schedule)
    slot = cron.previous(SLOT)
    half = timedelta(seconds=seconds)
    assert not is_past(cron, slot, slot + half)
    assert is_past(cron, slot, slot + half + timedelta(milliseconds=1))
    assert not is_past(cron, slot, slot - 1000 * half)


@pytest.mark.parametrize(("hours", "is_late"), [(11, False), (20, True), (-1, False)])
def test_a_late_slot_is_asked_of_a_market_that_knows_the_past(
    hours: int, caplog: pytest.LogCaptureFixture, *, is_late: bool
) -> None:
    slot = datetime.now(UTC) - timedelta(hours=hours)
    cron = Cron(f"{slot.minute} {slot.hour} * * *")
    slot = cron.previous(slot)
    past = Simulated(coins=("bitcoin",), currency="usd")
    caplog.set_level(logging.INFO)
    for market, known in ((Broken(MarketError(), past), past), (Broken(MarketError()), None), (None, None)):
        assert tick.knowing(market, slot, cron) is (known if is_late else market)
    assert caplog.text.count("is past, and the market knows only the present: no data") == is_late


async def test_without_a_market_the_event_is_bare() -> None:
    assert await tick.make(SLOT, None, 1) == Event(timestamp=SLOT)


async def test_the_event_has_the_quotes_of_the_market_and_their_time() -> None:
    market = Simulated(coins=("bitcoin", "ethereum"), currency="usd")
    made = await tick.make(SLOT, market, 1)
    assert (made.timestamp, made.source, made.data) == (SLOT, "simulated", await market.fetch(SLOT, 1))
    assert isinstance(made.fetched_at, datetime)
    assert made.fetched_at.microsecond == 0
    assert abs(datetime.now(UTC) - made.fetched_at) < timedelta(seconds=30)


async def test_a_market_that_fails_leaves_the_event_bare_and_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    before = FETCH_FAILURES._value.get()
    assert await tick.make(SLOT, Broken(MarketError("no quotes")), 1) == Event(timestamp=SLOT)
    line = "[MARKET] No data for 2023-11-21T14:30:00Z: no quotes; the event goes without"
    assert caplog.record_tuples == [("worker.tick", logging.WARNING, line)]
    assert FETCH_FAILURES._value.get() - before == 1


async def test_a_market_that_the_demo_has_taken_down_gives_nothing_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(outage.VARIABLE, str(tmp_path / "outage"))
    assert (await whole(1)).data
    (tmp_path / "outage").touch()
    assert await whole(1) == Event(timestamp=SLOT)
    assert "No data for 2023-11-21T14:30:00Z: the market is down; the event goes without" in caplog.text
    (tmp_path / "outage").unlink()
    assert (await whole(1)).data


async def test_a_market_with_a_bug_leaves_the_event_bare_and_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    before = FETCH_FAILURES._value.get()
    assert await tick.make(SLOT, Broken(LookupError("bug")), 1) == Event(timestamp=SLOT)
    assert "[MARKET] No data for 2023-11-21T14:30:00Z; the event goes without" in caplog.text
    assert "LookupError: bug" in caplog.text
    assert FETCH_FAILURES._value.get() - before == 1


async def test_a_market_out_of_reach_leaves_the_event_bare(caplog: pytest.LogCaptureFixture) -> None:
    market = CoinGecko(coins=("bitcoin",), currency="usd", url=NOWHERE)
    assert await tick.make(SLOT, market, 0.1) == Event(timestamp=SLOT)
    assert "[MARKET] No data for 2023-11-21T14:30:00Z: " in caplog.text
    await market.close()


def test_a_body_that_fits_goes_byte_for_byte_as_it_was_kept() -> None:
    assert tick.messages(SLOT, b"any version", "demo", MEGABYTE) == [("demo@2023-11-21T14:30:00Z", b"any version")]


async def test_an_event_that_does_not_fit_goes_in_parts_that_do() -> None:
    made, max_payload = await whole(20), 2048
    messages = tick.messages(SLOT, event.encode(made), "demo", max_payload)
    assert len(messages) > 1
    assert [name for name, _ in messages] == [f"demo@2023-11-21T14:30:00Z#{n}" for n in range(1, len(messages) + 1)]
    parts = [msgspec.json.decode(body, type=Event) for _, body in messages]
    assert [quote for part in parts for quote in part.data or ()] == list(made.data or ())
    for name, body in messages:
        assert _size(event.headers("demo", SLOT, name, trace.fresh())) + len(body) <= max_payload


def test_the_room_for_headers_is_enough_for_the_longest() -> None:
    feed = "f" * 64
    assert _size(event.headers(feed, SLOT, event.identity(feed, SLOT, 9999), trace.fresh())) <= tick.HEADERS_BYTES


async def test_a_quote_that_alone_does_not_fit_leaves_the_event_bare(caplog: pytest.LogCaptureFixture) -> None:
    body, max_payload = event.encode(await whole(3)), tick.HEADERS_BYTES + 150
    assert tick.messages(SLOT, body, "demo", max_payload) == BARE_MESSAGES
    line = "[PUBLISH] One quote alone exceeds 150 bytes; the event goes without data"
    assert caplog.record_tuples == [("worker.tick", logging.WARNING, line)]


def test_a_body_that_neither_fits_nor_can_be_read_leaves_the_event_bare(caplog: pytest.LogCaptureFixture) -> None:
    body = b'{"event":"CRYPTO_UPDATE","timestamp":"2023-11-21T14:30:00Z","data":{"of":"a later version"}}' + b" " * 500
    assert tick.messages(SLOT, body, "demo", tick.HEADERS_BYTES + 150) == BARE_MESSAGES
    assert "[PUBLISH] Cannot split the event of 2023-11-21T14:30:00Z (" in caplog.text


def _size(headers: dict[str, str]) -> int:
    """Bytes on the wire: https://docs.nats.io/reference/reference-protocols/nats-protocol#hpub"""
    lines = ["NATS/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return len("\r\n".join(lines).encode())
