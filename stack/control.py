"""The control port of a running harness or demo: where it is, and what it answers."""

import contextlib
import http.client
import json
import os
import sys
from collections.abc import Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from crypto_updates.harness.env import DEFAULT_PORT, LOOPBACK
from crypto_updates.local.errors import StackError

VARIABLE = "HARNESS_URL"
DEFAULT_URL = f"http://{LOOPBACK}:{DEFAULT_PORT}"
HOW = f"The harness is found at {VARIABLE}, or else at {DEFAULT_URL}."
_CONNECT_SECONDS = 5.0
# The commands that have a control port, by the first part of a path, where another one than the harness has it.
_ALSO = {"faults": "demo", "market": "market"}


class NoControlError(StackError):
    """Nobody listens there."""


class NoHarnessError(StackError):
    """What listens there does not do this."""


def told(work: Callable[[], object]) -> int:
    """Do the work, and return the exit status: 1 after a StackError, which is told."""
    try:
        work()
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def ask(method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 - it is JSON
    """Return the answer, or None if it is empty. Raises StackError with what the control port says of a failure."""
    url = os.environ.get(VARIABLE) or DEFAULT_URL
    with contextlib.closing(_connection(url)) as connection:
        try:
            connection.connect()
            connection.sock.settimeout(None)  # a fault is answered when it is over
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except OSError as error:
            why = error.strerror or error
            raise NoControlError(f"{url}: {why}: start {_starters(path)} first. {HOW}") from error
        except http.client.HTTPException as error:
            raise StackError(f"{url}: not a control port: {error!r}. {HOW}") from error
    return _result(answer.status, text, url, path)


def _connection(url: str) -> http.client.HTTPConnection:
    """Raises StackError if the URL is none."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        # A host that is no name raises UnicodeError, here rather than when it is looked up.
        if parts.scheme == "http" and parts.hostname and parts.hostname.encode("idna"):
            return http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=_CONNECT_SECONDS)
    raise StackError(f"{VARIABLE}={url}: accepted: http://HOST:PORT")


def _starters(path: str) -> str:
    """The commands with a control port that has this path."""
    commands = ["harness", *filter(None, [_ALSO.get(path.split("/")[1])])]
    return " or ".join(f"`crypto-updates {command}`" for command in commands)


def _result(status: int, text: str, url: str, path: str) -> Any:  # noqa: ANN401 - it is JSON
    """Raises StackError."""
    try:
        found: Any = json.loads(text) if text else None
        if status < HTTPStatus.BAD_REQUEST:
            return found
        problem = found["detail"], found["errors"]
    except (ValueError, TypeError, KeyError) as error:
        raise StackError(f"{url}{path}: not a control port: it answered {text[:100]!r}. {HOW}") from error
    if status == HTTPStatus.NOT_FOUND and not problem[1]:
        raise NoHarnessError(f"{url}{path}: what listens there does not do this: start {_starters(path)}. {HOW}")
    raise StackError(problem[0])
