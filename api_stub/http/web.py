"""The HTTP application: the API, the live stream, whether the service works, and the page that shows it."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles

from api_stub.errors import ApiError, MissingError
from api_stub.http import routes, schema
from api_stub.http.lane import Lane
from api_stub.http.live import Client, Live
from api_stub.http.state import State
from api_stub.metrics import Metrics
from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.bus.client import Bus
from crypto_updates.clock.timetable import Timetable
from crypto_updates.contract import asyncapi, json_schema
from crypto_updates.service import errors, problem
from crypto_updates.service.problem import documented

PAGE = Path(__file__).parents[1] / "page"
DESCRIPTION = "The event for other programs: [AsyncAPI document](asyncapi.json), [JSON Schema](event.schema.json)."
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "events as they are stored, and the state every 2 s"}
}
UNREADY: dict[int | str, dict[str, Any]] = {
    503: {"model": schema.Unready, "description": "events cannot be received or stored now; `reasons` says why"}
}


def application(
    timetable: Timetable, bus: Bus, store: Store, *, reader: Reader, metrics: Metrics, live: Live, state: State
) -> FastAPI:
    app = FastAPI(
        title="Crypto Updates", description=DESCRIPTION, docs_url=None, redoc_url=None, redirect_slashes=False
    )
    _errors(app)
    app.include_router(_live(live, state))
    app.include_router(routes.events(reader))
    app.include_router(routes.quotes(reader))
    app.include_router(routes.expected(reader, timetable))
    app.include_router(_health(bus, store, state))
    app.include_router(_metrics(metrics, state))
    app.include_router(_contract())
    app.include_router(_page())
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


def _errors(app: FastAPI) -> None:
    problem.install(app, "GET, HEAD")  # the gate makes GET of HEAD

    @app.exception_handler(MissingError)
    async def missing(_: Request, error: MissingError) -> JSONResponse:
        return problem.failed(404, str(error))

    @app.exception_handler(ApiError)
    async def unavailable(_: Request, error: ApiError) -> JSONResponse:
        return problem.failed(503, str(error), problem.RETRY_AFTER)


def _live(live: Live, state: State) -> APIRouter:
    router = APIRouter(tags=["live"])

    @router.get("/events/stream", response_class=StreamingResponse, responses=STREAM | documented(429))
    async def stream(client: Annotated[Client, Depends(live.client)]) -> StreamingResponse:
        """Server-Sent Events: each event as it is stored, by whichever API stub. It is live only.

        After a reconnection, and after `event: skipped`, read `/events` for what this stream did not carry.
        Its `since` is a slot's time: take it further back for events of older slots that were stored meanwhile.
        """
        # A proxy that buffers would hold events back.
        headers = {"X-Accel-Buffering": "no"}
        return StreamingResponse(client.messages(), headers=headers, media_type="text/event-stream")

    @router.get("/state", response_model=schema.State)
    async def stations() -> Response:
        """What worker, NATS, API stub and MongoDB are doing."""
        return routes.answer(await state.recent())

    return router


def _health(bus: Bus, store: Store, state: State) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """The process runs."""
        return {"status": "alive"}

    @router.get("/readyz", response_model=schema.Ready, responses=UNREADY)
    async def readyz() -> JSONResponse:
        """NATS and MongoDB answered a round trip just now, and events can be received and stored.

        `warnings` are there when something works less well than it should: no replica set, no index, no JetStream.
        """
        told, *answers = await asyncio.gather(state.recent(), bus.ping(), store.check(), return_exceptions=True)
        reasons = [errors.text(answer) for answer in answers if isinstance(answer, BaseException)]
        stations = [] if isinstance(told, BaseException) else [told["nats"], told["api_stub"], told["mongo"]]
        reasons = reasons or [station["reason"] for station in stations if station["ok"] is False]
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
        warnings = [station["reason"] for station in stations if station["reason"]]
        return JSONResponse({"status": "ready"} | ({"warnings": warnings} if warnings else {}))

    return router


def _metrics(metrics: Metrics, state: State) -> APIRouter:
    router = APIRouter(tags=["health"], responses=documented(503), route_class=Lane)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def measured(request: Request) -> Response:
        """For Prometheus. What NATS or MongoDB does not tell within 2 s is left out."""
        content, media_type = metrics.exposition(await state.measured(), request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return router


def _contract() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/asyncapi.json")
    async def asyncapi_document() -> Response:
        return routes.answer(asyncapi.document())

    @router.get("/event.schema.json")
    async def event_schema() -> Response:
        return routes.answer(json_schema.document())

    return router


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @router.get("/docs/")
    async def docs_folder() -> RedirectResponse:
        return RedirectResponse("../docs")

    @router.get("/docs")
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    return router
