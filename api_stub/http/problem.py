"""Errors as problem documents (RFC 9457): what is wrong, with which value, and what is accepted."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from api_stub.errors import ApiError, FullError, MissingError, StoreUnavailableError, TooManyError

MEDIA_TYPE = "application/problem+json"
# Of a bad value that the answer repeats.
MAX_VALUE_CHARS = 200
STATUS: dict[type[Exception], HTTPStatus] = {
    MissingError: HTTPStatus.NOT_FOUND,
    FullError: HTTPStatus.TOO_MANY_REQUESTS,
    TooManyError: HTTPStatus.UNPROCESSABLE_ENTITY,
    StoreUnavailableError: HTTPStatus.SERVICE_UNAVAILABLE,
}
RETRY_AFTER = {"Retry-After": "5"}  # seconds
LATER = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    errors: list[dict[str, str]] = Field(default=[], description="a wrong `parameter`, its `value`, what is `accepted`")


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """An operation's problems, as OpenAPI describes them."""
    content = {MEDIA_TYPE: {"schema": Problem.model_json_schema()}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def install(app: FastAPI) -> None:
    """Answer every error with a problem document."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ApiError, _api)
    app.add_exception_handler(Exception, _unexpected)


def answer(status: int, detail: str | None = None, headers: dict[str, str] | None = None) -> JSONResponse:
    return _response(Problem(title=HTTPStatus(status).phrase, status=status, detail=detail), headers)


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what Starlette promises and its types do not say
    faults = [_fault(fault) for fault in error.errors()]
    detail = "; ".join("{parameter}={value}: {accepted}".format(**fault) for fault in faults)
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    return _response(Problem(title="Unprocessable Content", status=status, detail=detail, errors=faults))


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    return answer(error.status_code, error.detail, dict(error.headers or {}))


async def _api(_: Request, error: Exception) -> JSONResponse:
    status = STATUS.get(type(error), HTTPStatus.SERVICE_UNAVAILABLE)
    return answer(status, str(error), RETRY_AFTER if status in LATER else None)


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, type(error).__name__)


def _fault(fault: dict[str, Any]) -> dict[str, str]:
    value = fault.get("input")
    return {
        "parameter": str(fault["loc"][-1]),
        "value": "nothing" if value is None else str(value)[:MAX_VALUE_CHARS],
        "accepted": fault["msg"].removeprefix("Value error, "),
    }


def _response(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(problem.model_dump(exclude_none=True), problem.status, headers, MEDIA_TYPE)
