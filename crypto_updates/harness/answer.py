import contextlib
import http.client
import json
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

# What a URL may have as it is (RFC 3986); the rest is percent-encoded, as browsers do.
_SAFE = "!#$%&'()*+,/:;=?@[]~"


class Answer(NamedTuple):
    """What an HTTP server said. The names of `headers` are in small letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:  # noqa: ANN401 - whatever it is
        """Raises ValueError if the body is not JSON."""
        return json.loads(self.body)


def get(url: str, timeout: float = 5.0) -> Answer:
    """GET an http:// URL past all proxies, and follow no redirection. Raises OSError, http.client.HTTPException."""
    parts = urlsplit(url)
    target = quote(parts._replace(scheme="", netloc="", fragment="").geturl(), safe=_SAFE) or "/"
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", target, headers={"Connection": "close"})
        reply = connection.getresponse()
        headers = {name.lower(): value for name, value in reply.getheaders()}
        return Answer(reply.status, headers, reply.read())
