"""A path has a lane of its own, so that a flood of one path leaves the other paths, and storing, their share.

In a lane, few answers are made at a time. Requests of one address that wait for their turn get one answer. Nothing is
kept: a request that comes while an answer is made waits for the next one. So an answer is as new as one that is made
for a single request.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from api_stub.mongo import MONGO_SECONDS
from crypto_updates.service.problem import RETRY_AFTER

Made = Coroutine[Any, Any, Response]
AT_ONCE = 2
# As long as MongoDB may take.
WAIT_SECONDS = MONGO_SECONDS


class Lane(APIRoute):
    """A route of FastAPI. A request that waits longer than WAIT_SECONDS gets a 503."""

    def get_route_handler(self) -> Callable[[Request], Made]:
        make = super().get_route_handler()
        turns = asyncio.Semaphore(AT_ONCE)
        waiting: dict[object, asyncio.Task[Response]] = {}

        async def made(key: object, request: Request) -> Response:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await turns.acquire()
            except TimeoutError as error:
                problem = f"no turn within {WAIT_SECONDS:.0f} s, because too many requests of this path wait"
                raise HTTPException(503, problem, RETRY_AFTER) from error
            finally:
                del waiting[key]
            try:
                return await make(request)
            finally:
                turns.release()

        async def answer(request: Request) -> Response:
            key = request.scope["path"], request.scope["query_string"], request.headers.get("accept")
            if key not in waiting:
                waiting[key] = asyncio.create_task(made(key, request))
                # At the stop, nobody may be left to take its failure.
                waiting[key].add_done_callback(lambda done: done.cancelled() or done.exception())
            return await asyncio.shield(waiting[key])

        return answer
