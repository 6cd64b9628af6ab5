import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel

from api_stub import query
from api_stub.errors import TooManyError
from api_stub.http import schema
from api_stub.http.problem import documented
from api_stub.reader import Reader, encode
from crypto_updates.clock import slots
from crypto_updates.clock.timetable import Timetable

JSON = "application/json"
DEFAULT_PRICES_SPAN = timedelta(days=1)
FIRST = datetime.min.replace(tzinfo=UTC)
SECOND = timedelta(seconds=1)
# More than a day of `* * * * * *` has.
MAX_SLOTS = 100_000


def now() -> datetime:
    return datetime.now(UTC)


def _json(content: object) -> Response:
    """FastAPI would validate each value again, and what is stored can be anything."""
    return Response(encode(content), media_type=JSON)


def _given(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {200: {"model": model}}


def events(reader: Reader) -> APIRouter:
    router = APIRouter(tags=["events"], responses=documented(422, 503))

    @router.get("/events", responses=_given(schema.Events))
    async def page(
        limit: schema.Limit = 5,
        cursor: schema.Cursor = None,
        since: schema.Since = None,
        until: schema.Until = None,
        coin: schema.Coin | None = None,
    ) -> Response:
        """The newest events; `next` is the cursor of the page after this one, or null."""
        found, following = await reader.page(limit, cursor, since, until, coin)
        return _json({"events": found, "next": following})

    @router.get("/events/{identity:path}", responses=_given(schema.Event) | documented(404))
    async def event(identity: schema.Identity) -> Response:
        """The event of this `_id`."""
        return _json(await reader.event(identity))

    @router.get("/dead-letters", responses=_given(schema.DeadLetters))
    async def dead_letters(limit: schema.Limit = 20, cursor: schema.Cursor = None) -> Response:
        """The messages that were not valid events, the newest first, each with the reason."""
        found, following = await reader.dead_letters(limit, cursor)
        return _json({"dead_letters": found, "next": following})

    return router


def quotes(reader: Reader) -> APIRouter:
    router = APIRouter(tags=["quotes"], responses=documented(422, 503))

    @router.get("/coins", responses=_given(schema.Coins))
    async def coins() -> Response:
        """The coins that were ever quoted."""
        return _json({"coins": await reader.coins()})

    @router.get("/stats", responses=_given(schema.Stats) | documented(404))
    async def stats(coin: schema.Coin) -> Response:
        """The newest quote of the coin."""
        quote = await reader.quote(coin, now())
        return _json({name: quote.get(key) for name, key in schema.STATS.items()})

    @router.get("/deviation", responses=_given(schema.Deviation) | documented(404))
    async def deviation(coin: schema.Coin) -> Response:
        """The population standard deviation of the coin's last 100 prices, to 6 significant digits."""
        return _json({"deviation": float(f"{await reader.deviation(coin, now()):.6g}")})

    @router.get("/prices", responses=_given(schema.Prices))
    async def prices(
        coin: schema.Coin, since: schema.Since = None, until: schema.Until = None, points: schema.Points = 400
    ) -> Response:
        """The coin's prices, oldest first, of the last 24 hours by default, thinned to about `points` prices."""
        end = until or now()
        start = since or end - min(DEFAULT_PRICES_SPAN, end - FIRST)
        step = timedelta()
        if await reader.count_prices(coin, start, end, points + 1) > points:
            step = query.step(end - start, points)
        found = await reader.prices(coin, start, end, step)
        return _json({"coin": coin, "since": start, "until": end, "step": step / SECOND, "prices": found})

    return router


def expected(reader: Reader, timetable: Timetable) -> APIRouter:
    router = APIRouter(tags=["slots"], responses=documented(422, 503))
    cron = timetable.cron

    @router.get("/slots", responses=_given(schema.Slots))
    async def expected_and_stored(hours: schema.Hours = 24, limit: schema.Cells = 300) -> Response:
        """The slots of the last hours: how many were expected, how many are stored, and which are missing."""
        at = now()
        since = at - timedelta(hours=hours)
        if (count := slots.about(cron, since, at)) > MAX_SLOTS:
            raise TooManyError(f"hours={hours:g}: about {count} slots of {timetable.schedule!r}; accepted: {MAX_SLOTS}")
        beginning = await reader.beginning(timetable.feed, at)
        stored = await reader.stored(timetable.feed, since, at)
        # In a thread, because a day of `* * * * * *` takes a second.
        cells = await asyncio.to_thread(slots.cells, cron, since, at, beginning, stored)
        about = {"feed": timetable.feed, "schedule": timetable.schedule, "zone": timetable.schedule_tz}
        times = {"now": at, "since": since, "next": cron.next(at), "beginning": beginning}
        named = [cell._asdict() for cell in cells[-limit:]]
        return _json(about | {"words": cron.words} | times | slots.figures(cells) | {"slots": named})

    return router
