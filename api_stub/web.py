"""The HTTP API: what is stored, and whether the service works."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec
from fastapi import FastAPI, HTTPException, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST

from api_stub.errors import BadCursorError, StoreUnavailableError
from api_stub.metrics import Metrics
from api_stub.store import Store
from bus.client import Bus


def application(bus: Bus, store: Store, metrics: Metrics) -> FastAPI:
    app = FastAPI(title="Crypto Updates", docs_url=None, redoc_url=None)

    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        return RedirectResponse("/events?limit=20")

    @app.get("/events")
    async def events(limit: Annotated[int, Query(ge=1, le=500)] = 5, cursor: str | None = None) -> Response:
        """The newest events; `next` is the cursor of the page after this one, or null."""
        try:
            page, following = await store.newest(limit, cursor)
        except BadCursorError as error:
            raise HTTPException(400, str(error)) from error
        except StoreUnavailableError as error:
            raise HTTPException(503, str(error)) from error
        return Response(msgspec.json.encode({"events": page, "next": following}), media_type="application/json")

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """The process runs."""
        return {"status": "alive"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """NATS and MongoDB answered a round trip just now."""
        answers = await asyncio.gather(bus.ping(), store.ping(), return_exceptions=True)
        reasons = [str(answer) or repr(answer) for answer in answers if isinstance(answer, BaseException)]
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", response_class=PlainTextResponse)
    async def measured() -> Response:
        """For Prometheus; what NATS or MongoDB does not tell within 2 s is left out."""
        return Response(await metrics.exposition(bus, store), media_type=CONTENT_TYPE_LATEST)

    return app
