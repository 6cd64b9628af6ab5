"""Errors as problem documents (RFC 9457): what is wrong, with which value, and what is accepted."""

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
# An answer repeats this much of a bad value.
MAX_VALUE_CHARS = 200
RETRY_AFTER = {"Retry-After": "5"}  # seconds
# RFC 9110's names, which Python's `HTTPStatus` has from 3.13 on.
TITLES = {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}

# Plainer than pydantic's own words.
TOLD = {
    "extra_forbidden": "no such name here; /openapi.json has those that there are",
    "json_invalid": "JSON",
    "model_attributes_type": "a JSON object",
}


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    errors: list[dict[str, str]] = Field(default=[], description="a wrong `parameter`, its `value`, what is `accepted`")


class _Answer(JSONResponse):
    media_type = MEDIA_TYPE

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - it is JSON
        """A bad value may hold half of a character, which JSON can escape and UTF-8 does not have."""
        return json.dumps(content, ensure_ascii=False).encode(errors="replace")


class FaultyError(Exception):
    """A value in a request is not accepted. `install` makes a problem document of it."""

    def __init__(self, status: int, parameter: str, value: str, accepted: str) -> None:
        super().__init__(f"{parameter}={value}: {accepted}")
        self.answer = faulty(status, parameter, value, accepted)


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """An operation's problems, as OpenAPI describes them."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": _title(status), "content": content} for status in statuses}


def install(app: FastAPI, methods: str | None = None) -> None:
    """Answer every error with a problem document. `methods`: those of every route, where a route does not know them."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return _faulty(422, [_fault(fault, error.body) for fault in error.errors()])

    @app.exception_handler(FaultyError)
    async def unaccepted(_: Request, error: FaultyError) -> JSONResponse:
        return error.answer

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> JSONResponse:
        is_method = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
        return failed(error.status_code, error.detail, {"Allow": methods} if is_method and methods else error.headers)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        return failed(500, type(error).__name__)


def failed(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return _answer(Problem(title=_title(status), status=status, detail=detail), headers)


def faulty(status: int, parameter: str, value: str, accepted: str) -> JSONResponse:
    """Refuse a value."""
    return _faulty(status, [{"parameter": parameter, "value": value[:MAX_VALUE_CHARS], "accepted": accepted}])


def _faulty(status: int, faults: list[dict[str, str]]) -> JSONResponse:
    detail = "; ".join("{parameter}={value}: {accepted}".format(**fault) for fault in faults)
    return _answer(Problem(title=_title(status), status=status, detail=detail, errors=faults))


def _title(status: int) -> str:
    return TITLES.get(status) or HTTPStatus(status).phrase


def _answer(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return _Answer(problem.model_dump(), problem.status, headers)


def _fault(fault: dict[str, Any], body: object) -> dict[str, str]:
    value = None if fault["type"] == "missing" else body if fault["type"] == "json_invalid" else fault.get("input")
    return {
        # Not an index in a list, the place where a body stops being JSON, or a mark of pydantic's.
        "parameter": next(part for part in reversed(fault["loc"]) if isinstance(part, str) and part != "[key]"),
        "value": "nothing" if value is None else str(value)[:MAX_VALUE_CHARS],
        "accepted": TOLD.get(fault["type"]) or fault["msg"].removeprefix("Value error, "),
    }
