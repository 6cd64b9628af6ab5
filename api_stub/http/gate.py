"""What every request passes: its Host, HEAD as GET, and the headers and errors of all answers."""

import ipaddress
import re
from collections.abc import Iterable
from email.utils import formatdate
from fnmatch import fnmatchcase
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crypto_updates.service import problem

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
HOST = re.compile(r"(?:\[(?P<v6>[^]]+)\]|(?P<name>[^:/@\[\]\s]+))(?::\d*)?")
ACCEPTED = "localhost, an IP address, HTTP_HOST, and the names in HTTP_ALLOWED_HOSTS"
# In the scope of a request whose answer has no body.
BODILESS = "bodiless"


def gate(app: ASGIApp, hosts: Iterable[str]) -> ASGIApp:
    """The application for requests to this machine and to `hosts`, in which `*` stands for anything."""
    accepted = tuple(name.lower().rstrip(".") for name in ("localhost", "*.localhost", *hosts))

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        wanted = refusal(scope, accepted) or app
        if scope["method"] == "HEAD":
            # The server sends the head alone, because it goes by its own scope.
            scope = {**scope, "method": "GET", BODILESS: True}
        await wanted(scope, receive, _finished(scope, send))

    return answer


def refusal(scope: Scope, accepted: Iterable[str]) -> Response | None:
    """The answer to a request that may come from a page of another site, by a name that it has bound to our address.

    An address in Host is no such name. What sends no Host is no browser.
    """
    hosts = Headers(scope=scope).getlist("Host")
    if len(hosts) > 1 or (not hosts and scope["http_version"] == "1.1"):
        return problem.failed(400, f"{len(hosts)} Host headers; accepted: one")
    if not hosts or not hosts[0] or _is_ours(hosts[0], accepted):
        return None
    return problem.faulty(421, "Host", hosts[0], ACCEPTED)


def _is_ours(host: str, accepted: Iterable[str]) -> bool:
    found = HOST.fullmatch(host)
    if found is None:
        return False
    name = (found["v6"] or found["name"]).lower().rstrip(".")
    return _is_address(name) or any(fnmatchcase(name, pattern) for pattern in accepted)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _finished(scope: Scope, send: Send) -> Send:
    """Sends the answer with our headers, and Starlette's refusal of a range, which is plain text, as a problem."""
    body: bytes | None = None

    async def sent(message: Message) -> None:
        nonlocal body
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if message["status"] >= HTTPStatus.BAD_REQUEST and headers.get("Content-Type", "").startswith("text/plain"):
                asked = Headers(scope=scope).get("Range", "")
                answer = problem.faulty(message["status"], "Range", asked, "bytes=FIRST-LAST, within the file")
                headers.update(answer.headers)
                body = bytes(answer.body)
            headers.update(HEADERS)
            headers["Date"] = formatdate(usegmt=True)
            # Browsers may keep the page's files, and ask each time whether the ETag is still the same.
            headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/page/") else "no-store"
        elif body is not None:
            message = {**message, "body": body}
        await send(message)

    return sent
