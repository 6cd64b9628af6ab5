"""How requests leave this machine: through a proxy or not, and which certificates count.

httpx would read the same variables by itself, and raise what it does not like when the client is made.
"""

import contextlib
import ipaddress
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import certifi

from crypto_updates.service import trust

if TYPE_CHECKING:
    import httpx

_MAX_PORT = 65_535
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Network(NamedTuple):
    """The variables of these names: https://curl.se/docs/manpage.html#ENVIRONMENT"""

    http_proxy: str | None = None
    https_proxy: str | None = None
    all_proxy: str | None = None
    no_proxy: str | None = None
    ssl_cert_file: Path | None = None
    ssl_cert_dir: str | None = None

    def proxy(self, url: "httpx.URL") -> "httpx.Proxy | None":
        """The proxy for this URL, if it has one."""
        if any(_covers(entry, url) for entry in re.split(r"[,\s]+", self.no_proxy or "") if entry):
            return None
        given = (self.https_proxy if url.scheme == "https" else self.http_proxy) or self.all_proxy
        return proxy(given, self.context()) if given else None

    def context(self) -> ssl.SSLContext:
        """Raises ValueError with the cause."""
        default = None if self.ssl_cert_dir else Path(certifi.where())
        return trust.context(self.ssl_cert_file or default, self.ssl_cert_dir)


DIRECT = Network()


def http_url(url: str) -> str:
    """Return the URL if the HTTP client can ask it. Raises ValueError."""
    if _parsed(url).scheme not in _DEFAULT_PORTS:
        raise ValueError
    return url


def proxy(url: str, context: ssl.SSLContext | None = None) -> "httpx.Proxy":
    """`host:port` alone is an HTTP proxy, and desktops write socks:// for SOCKS 5. Raises ValueError."""
    import httpx  # noqa: PLC0415 - a worker that asks nobody does without

    written = url if "//" in url or ":/" in url else f"http://{url}"
    whole = _parsed(re.sub("^socks://", "socks5://", written, flags=re.IGNORECASE))
    try:
        return httpx.Proxy(whole, ssl_context=context if whole.scheme == "https" else None)
    except ValueError:
        raise ValueError from None  # its text shows the password


def _parsed(url: str) -> "httpx.URL":
    import httpx  # noqa: PLC0415 - a worker that asks nobody does without

    try:
        part = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError from None  # its text may show a part of a password
    if not re.fullmatch(r"[^\s%]+", part.host) or part.port == 0 or (part.port or 0) > _MAX_PORT:
        raise ValueError
    return part


def _covers(entry: str, url: "httpx.URL") -> bool:
    """Whether an entry of NO_PROXY is for this URL: `*`, a domain with all below it, an address, a network."""
    if entry == "*":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(url.host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit():
        if int(port) != (url.port or _DEFAULT_PORTS[url.scheme]):
            return False
        entry = name
    domain = entry.strip("[]").lstrip("*.").lower()
    return bool(domain) and f".{url.host}".endswith(f".{domain}")
