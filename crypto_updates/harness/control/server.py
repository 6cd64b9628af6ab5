"""A control port: an HTTP application on a thread of its own, beside what it controls."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

import crypto_updates
from crypto_updates.harness.env import LOOPBACK
from crypto_updates.local.errors import PortTakenError
from crypto_updates.service import errors, problem
from crypto_updates.service.listener import listen


@contextlib.contextmanager
def serve(title: str, *routers: APIRouter, port: int, host: str = LOOPBACK) -> Iterator[str]:
    """Serve the routers and their OpenAPI document, and give the URL. Raises PortTakenError."""
    app = FastAPI(
        title=title,
        version=crypto_updates.__version__,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_takes_json)],
        responses=problem.documented(415),
    )
    problem.install(app)
    app.add_exception_handler(errors.CryptoUpdatesError, _failed)
    for router in routers:
        app.include_router(router)
    try:
        listener = listen(host, port)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise PortTakenError(f"control port {host}:{port}: {why}; accepted: a free port") from error
    config = uvicorn.Config(
        _told_of_the_end(app),
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        workers=1,  # else uvicorn reads WEB_CONCURRENCY, and raises what is no number
    )
    server = uvicorn.Server(config)  # on another thread than the main one, it leaves signals alone
    thread = threading.Thread(target=server.run, args=([listener],), name="control", daemon=True)
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True  # a request may wait for an hour
        thread.join()


async def _takes_json(request: Request) -> None:
    """A page in a browser can send anything else to this machine, and JSON only with a leave that nobody gives."""
    given = request.headers.get("Content-Type", "nothing")
    if await request.body() and given.partition(";")[0].strip().lower() != "application/json":
        raise problem.FaultyError(415, "Content-Type", given, "application/json")


def _failed(_: Request, error: Exception) -> JSONResponse:
    return problem.failed(503, str(error))


def _told_of_the_end(app: ASGIApp) -> ASGIApp:
    """Answers the requests that are cancelled because the control port is closed."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            await problem.failed(503, "the control port was closed")(scope, receive, send)

    return answer
