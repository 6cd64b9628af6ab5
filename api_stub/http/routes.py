import asyncio
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, HTTPException, Response

from api_stub import query
from api_stub.codec import encode, number
from api_stub.http import schema
from api_stub.http.lane import Lane
from api_stub.reader import Reader
from crypto_updates.clock import slots
from crypto_updates.clock.cron import SECOND
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service.problem import documented

DEFAULT_PRICES_SPAN = timedelta(days=1)
FIRST = datetime.min.replace(tzinfo=UTC)
# More than a day of `* * * * * *` has.
MAX_SLOTS = 100_000


def now() -> datetime:
    return datetime.now(UTC)


def answer(content: object) -> Response:
    """FastAPI would validate each value again, and what is stored can be anything."""
    return Response(encode(content), media_type="application/json")


def events(reader: Reader) -> APIRouter:
    router = APIRouter(tags=["events"], responses=documented(422, 503), route_class=Lane)

    @router.get("/events", response_model=schema.Events)
    async def page(
        *,
        limit: schema.Limit = 5,
        cursor: schema.Cursor = None,
        since: schema.Since = None,
        until: schema.Until = None,
        coin: schema.Coin | None = None,
        id: schema.Id = None,  # noqa: A002 - the parameter's name
    ) -> Response:
        """The newest events; `next` is the cursor of the page after this one, or null."""
        where = [query.span(since, until), query.quoting(coin) if coin else {}]
        where += [query.after(cursor, "timestamp") if cursor else {}, {} if id is None else query.named(id)]
        found, following = await reader.page(limit, where)
        return answer({"events": found, "next": following})

    @router.get("/events/{identity:path}", response_model=schema.Event, responses=documented(404))
    async def event(identity: schema.Identity) -> Response:
        """The event of this `_id`."""
        return answer(await reader.event(identity))

    @router.get("/dead-letters", response_model=schema.DeadLetters)
    async def dead_letters(limit: schema.Limit = 20, cursor: schema.Cursor = None) -> Response:
        """The messages that were not valid events, the newest first, each with the reason."""
        found, following = await reader.dead_letters(limit, cursor)
        return answer({"dead_letters": found, "next": following})

    return router


def quotes(reader: Reader) -> APIRouter:
    router = APIRouter(tags=["quotes"], responses=documented(422, 503), route_class=Lane)

    @router.get("/coins", response_model=schema.Coins)
    async def coins() -> Response:
        """The coins that were ever quoted."""
        return answer({"coins": await reader.coins()})

    @router.get("/stats", response_model=schema.Stats, responses=documented(404))
    async def stats(coin: schema.Coin) -> Response:
        """The newest quote of the coin."""
        quote = await reader.quote(coin, now())
        return answer(
            {field.alias or name: number(quote.get(name)) for name, field in schema.Stats.model_fields.items()}
        )

    @router.get("/deviation", response_model=schema.Deviation, responses=documented(404))
    async def deviation(coin: schema.Coin) -> Response:
        """The population standard deviation of the coin's last 100 prices, to 6 significant digits."""
        return answer({"deviation": float(f"{await reader.deviation(coin, now()):.6g}")})

    @router.get("/prices", response_model=schema.Prices)
    async def prices(
        coin: schema.Coin, since: schema.Since = None, until: schema.Until = None, points: schema.Points = 400
    ) -> Response:
        """The coin's prices, oldest first, of the last 24 hours by default, thinned to about `points` prices."""
        end = until or now()
        start = since or end - min(DEFAULT_PRICES_SPAN, end - FIRST)
        found, step = await reader.prices(coin, start, end, points)
        return answer({"coin": coin, "since": start, "until": end, "step": step / SECOND, "prices": found})

    return router


def expected(reader: Reader, timetable: Timetable) -> APIRouter:
    router = APIRouter(tags=["slots"], responses=documented(422, 503), route_class=Lane)
    cron = timetable.cron

    @router.get("/slots", response_model=schema.Slots)
    async def expected_and_stored(hours: schema.Hours = 24, limit: schema.Cells = 300) -> Response:
        """The slots of the last hours: how many were expected, how many are stored, and which are missing."""
        at = now()
        since = at - timedelta(hours=hours)
        if (count := slots.about(cron, since, at)) > MAX_SLOTS:
            problem = f"hours={hours:g}: about {count} slots of {timetable.schedule!r}; accepted: {MAX_SLOTS}"
            raise HTTPException(422, problem)
        beginning, age, _ = await reader.beginning(timetable, at)
        stored = await reader.stored(timetable, since, at)
        # In a thread, because a day of `* * * * * *` takes a second.
        cells = await asyncio.to_thread(slots.cells, cron, since, at, beginning, stored)
        times = {"now": at, "since": since, "next": cron.next(at), "beginning": beginning}
        found = {"max_event_age": age and age / SECOND, "slots": cells[-limit:]}
        return answer(timetable.names | times | slots.figures(cells) | found)

    return router
