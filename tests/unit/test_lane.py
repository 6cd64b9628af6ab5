"""The lanes of the HTTP API: who waits for whom, and who shares an answer."""

import asyncio
import gc
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, HTTPException

from api_stub.http import lane
from api_stub.http.lane import Lane

DEADLINE_SECONDS = 30


class Desk:
    """An application whose answers are made when the test says so. Each answer has a number."""

    def __init__(self) -> None:
        self.begun = 0
        self._begun, self._open = asyncio.Condition(), asyncio.Event()
        router = APIRouter(route_class=Lane)

        @router.get("/slow")
        async def slow(page: int = 0) -> str:
            number = await self._begin()
            await self._open.wait()
            return f"{page}: {number}"

        @router.get("/quick")
        async def quick() -> str:
            return "quick"

        @router.get("/broken")
        async def broken() -> None:
            await self._begin()
            await self._open.wait()
            raise HTTPException(418)

        app = FastAPI()
        app.include_router(router)
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://desk")

    async def _begin(self) -> int:
        async with self._begun:
            self.begun += 1
            self._begun.notify_all()
            return self.begun

    async def until_begun(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS), self._begun:
            await self._begun.wait_for(lambda: self.begun >= count)

    def finish(self) -> None:
        self._open.set()

    def ask(self, path: str, accept: str = "*/*") -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(self._client.get(path, headers={"Accept": accept}))

    async def get(self, path: str) -> httpx.Response:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await self._client.get(path)

    async def close(self) -> None:
        await self._client.aclose()


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    await desk.close()


async def busy(desk: Desk) -> "list[asyncio.Task[httpx.Response]]":
    """Requests that take every turn of /slow."""
    asked = [desk.ask(f"/slow?page={number}") for number in range(lane.AT_ONCE)]
    await desk.until_begun(lane.AT_ONCE)
    return asked


async def given(*asked: "asyncio.Task[httpx.Response]") -> list[object]:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return [answer.json() for answer in await asyncio.gather(*asked)]


async def settled() -> None:
    """Let the requests that were just made come as far as they can."""
    for _ in range(100):
        await asyncio.sleep(0)


async def test_requests_that_wait_for_the_same_answer_share_it(desk: Desk) -> None:
    first = await busy(desk)
    same, other = [desk.ask("/slow?page=7") for _ in range(5)], desk.ask("/slow?page=8")
    await settled()
    desk.finish()
    answers = await given(*same, other, *first)
    assert len(set(answers[:5])) == 1
    assert desk.begun == lane.AT_ONCE + 2


async def test_requests_for_different_forms_of_an_answer_share_none(desk: Desk) -> None:
    first = await busy(desk)
    forms = [desk.ask("/slow?page=7", accept) for accept in ("text/plain", "application/openmetrics-text")]
    await settled()
    desk.finish()
    assert len(set(await given(*forms))) == 2
    await given(*first)


async def test_a_request_that_comes_while_an_answer_is_made_gets_the_next_one(desk: Desk) -> None:
    """What was stored meanwhile is in its answer."""
    early = desk.ask("/slow")
    await desk.until_begun(1)
    late = desk.ask("/slow")
    await desk.until_begun(2)
    desk.finish()
    assert await given(early, late) == ["0: 1", "0: 2"]


async def test_an_answer_is_not_kept(desk: Desk) -> None:
    desk.finish()
    assert [(await desk.get("/slow")).json() for _ in range(2)] == ["0: 1", "0: 2"]


async def test_a_flood_of_one_path_has_few_turns_and_leaves_the_others_theirs(desk: Desk) -> None:
    first = await busy(desk)
    flood = [desk.ask(f"/slow?page={10 + number}") for number in range(50)]
    await settled()
    assert (await desk.get("/quick")).json() == "quick"
    assert desk.begun == lane.AT_ONCE
    desk.finish()
    await given(*first, *flood)
    assert desk.begun == lane.AT_ONCE + 50


async def test_who_gets_no_turn_in_time_is_told_to_come_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "WAIT_SECONDS", 0.05)
    first = await busy(desk)
    refused = await desk.get("/slow?page=7")
    assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
    desk.finish()
    await given(*first)
    assert (await desk.get("/slow?page=7")).json() == f"7: {lane.AT_ONCE + 1}"


async def test_who_goes_away_takes_the_answer_from_nobody(desk: Desk) -> None:
    first = await busy(desk)
    gone, patient = desk.ask("/slow?page=7"), desk.ask("/slow?page=7")
    await settled()
    gone.cancel()
    desk.finish()
    assert await given(patient) == [f"7: {lane.AT_ONCE + 1}"]
    await given(*first)


async def test_a_failure_is_everybodys_and_frees_the_turn(desk: Desk) -> None:
    asked = [desk.ask("/broken") for _ in range(lane.AT_ONCE + 3)]
    await desk.until_begun(1)
    desk.finish()
    async with asyncio.timeout(DEADLINE_SECONDS):
        assert {answer.status_code for answer in await asyncio.gather(*asked)} == {418}
    assert (await desk.get("/broken")).status_code == 418


async def test_a_failure_that_nobody_waits_for_any_more_is_no_error_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    gone = desk.ask("/broken")
    await desk.until_begun(1)
    gone.cancel()
    desk.finish()
    await settled()
    gc.collect()
    assert (gone.cancelled(), caplog.records) == (True, [])
