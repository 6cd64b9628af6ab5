"""The HTTP application: the API, the live stream, whether the service works, and the page that shows it."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api_stub.http import problem, routes, schema
from api_stub.http.live import Client, Live
from api_stub.http.problem import documented
from api_stub.http.state import State
from api_stub.metrics import Metrics
from api_stub.reader import Reader
from api_stub.store import Store
from crypto_updates.bus.client import Bus
from crypto_updates.clock.timetable import Timetable
from crypto_updates.service import errors

PAGE = Path(__file__).parents[1] / "page"
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {}}, "description": "events as they are stored, and the state every 2 s"}
}
UNREADY: dict[int | str, dict[str, Any]] = {
    503: {"model": schema.Unready, "description": "NATS or MongoDB did not answer; `reasons` says which"}
}
# Browsers load nothing from another host, show the page in no frame, and guess no type.
HEADERS = {
    # Swagger UI's images and the icon of /docs are data: URLs.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def application(
    timetable: Timetable, bus: Bus, store: Store, *, reader: Reader, metrics: Metrics, live: Live, state: State
) -> FastAPI:
    app = FastAPI(title="Crypto Updates", docs_url=None, redoc_url=None)
    problem.install(app)
    app.add_middleware(_with_headers)
    app.include_router(_live(live, state))
    app.include_router(routes.events(reader))
    app.include_router(routes.quotes(reader))
    app.include_router(routes.expected(reader, timetable))
    app.include_router(_health(bus, store, metrics, state))
    app.include_router(_page())
    app.mount("/page", StaticFiles(directory=PAGE), name="page")
    return app


def _with_headers(app: ASGIApp) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                # Browsers may keep the page's files, and ask each time whether the ETag is still the same.
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/page/") else "no-store"
            await send(message)

        await app(scope, receive, sent)

    return answer


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

    @router.get("/state")
    async def stations() -> Response:
        """What worker, NATS, API stub and MongoDB are doing."""
        return routes.answer(await state.recent())

    return router


def _health(bus: Bus, store: Store, metrics: Metrics, state: State) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/livez")
    async def livez() -> dict[str, str]:
        """The process runs."""
        return {"status": "alive"}

    @router.get("/readyz", responses=UNREADY)
    async def readyz() -> JSONResponse:
        """NATS and MongoDB answered a round trip just now."""
        answers = await asyncio.gather(bus.ping(), store.ping(), return_exceptions=True)
        reasons = [errors.text(answer) for answer in answers if isinstance(answer, BaseException)]
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
        return JSONResponse({"status": "ready"})

    @router.get("/metrics", response_class=PlainTextResponse)
    async def measured(request: Request) -> Response:
        """For Prometheus. What NATS or MongoDB does not tell within 2 s is left out."""
        content, media_type = metrics.exposition(await state.read(), request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return router


def _page() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def home() -> FileResponse:
        return FileResponse(PAGE / "index.html")

    @router.get("/docs")
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    return router
