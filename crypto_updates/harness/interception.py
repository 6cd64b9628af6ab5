"""What a program sends to https://api.coingecko.com reaches the market of the harness, in any language.

Node.js is redirected by preload.js. Python, Go, curl and others use the proxy in HTTPS_PROXY. Both end at a TLS port
whose certificate has that name. It is signed by a CA that is made here, and that the program's variables name.
Requests for all other hosts pass through the proxy unchanged.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

import certifi
import trustme

from crypto_updates.harness.env import LOOPBACK
from crypto_updates.harness.loop import Loop
from crypto_updates.local import guard

HOST = "api.coingecko.com"
PRELOAD = Path(__file__).with_name("preload.js")
# Each names a file of certificates that a program trusts, most of them in place of its own list.
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
_THIS_MACHINE = "localhost,127.0.0.1,::1"
_CHUNK = 65_536


class _Peer(NamedTuple):
    """The other end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


class Interception:
    """Runs in a `with` statement, on a thread of its own. `port`: the proxy's. `tls_port`: the market's, with TLS.

    `host`: the address to listen on with TLS; the proxy is for this machine only.
    """

    def __init__(self, market_port: int, *, tls_port: int = 0, host: str = LOOPBACK) -> None:
        self.market_port = market_port
        self._tls = host, tls_port
        self._ca = trustme.CA()

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            self._folder = closing.enter_context(guard.folder())
            loop = closing.enter_context(Loop("interception"))
            servers = loop.run(self._listen(*self._tls))
            for server in servers:
                closing.callback(loop.call, server.close)
            self.tls_port, self.port = (server.sockets[0].getsockname()[1] for server in servers)
            self._closing = closing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def env(self, own: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The variables for a program. `own`: those that it has so far; its options and certificates stay."""
        path = str(PRELOAD).replace("\\", "\\\\").replace('"', '\\"')
        return {
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), f"http://{LOOPBACK}:{self.port}"),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), _THIS_MACHINE),
            **dict.fromkeys(_BUNDLES, str(self.bundle(own))),
            "NODE_OPTIONS": f'{own.get("NODE_OPTIONS", "")} --require "{path}"'.strip(),
            "HARNESS_COINGECKO_PORTS": json.dumps({"443": self.tls_port, "80": self.market_port}),
        }

    def bundle(self, own: Mapping[str, str] = os.environ) -> Path:
        """A file with our CA, the public ones, and those that the program names so far."""
        files = {certifi.where(), *(own[name] for name in _BUNDLES if name in own)}
        known = [Path(file).read_bytes() for file in sorted(files) if Path(file).is_file()]
        content = b"\n".join([self._ca.cert_pem.bytes(), *known])
        # Programs with other certificates of their own get other files, and one that reads its file finds it whole.
        path = self._folder / f"{hashlib.sha256(content).hexdigest()[:16]}.pem"
        if not path.exists():
            part = self._folder / secrets.token_hex(8)
            part.write_bytes(content)
            part.replace(path)
        return path

    async def _listen(self, host: str, tls_port: int) -> list[asyncio.Server]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(HOST).configure_cert(context)
        return [
            await asyncio.start_server(self._terminate, host, tls_port, ssl=context),
            await asyncio.start_server(self._proxy, LOOPBACK, 0),
        ]

    async def _terminate(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _open(_Peer(reader, writer)) as client, _connected(LOOPBACK, self.market_port) as market:
            await _relay(client, market)

    async def _proxy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with _open(_Peer(reader, writer)) as client:
            method, target, rest = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
            try:
                if method == b"CONNECT":
                    await self._tunnel(client, target.decode())
                else:
                    await self._forward(client, method, target.decode(), rest)
            except OSError as error:  # the host cannot be reached
                writer.write(f"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\n\r\n{error}\n".encode())

    async def _tunnel(self, client: _Peer, target: str) -> None:
        host, _, port = target.rpartition(":")
        if (host.lower(), port) == (HOST, "443"):
            host, port = LOOPBACK, str(self.tls_port)
        async with _connected(host.strip("[]"), int(port)) as server:
            client.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await _relay(client, server)

    async def _forward(self, client: _Peer, method: bytes, target: str, rest: bytes) -> None:
        """A request with its whole URL, also for https, as axios sends it. Its connection serves no other."""
        url = urlsplit(target)
        version, *headers = rest.split(b"\r\n")
        kept = [header for header in headers if not header.lower().startswith((b"connection:", b"proxy-"))]
        path = url._replace(scheme="", netloc="").geturl() or "/"
        head = b"\r\n".join([b"%s %s %s" % (method, path.encode(), version), b"Connection: close", *kept])
        if url.hostname == HOST:
            connected = _connected(LOOPBACK, self.market_port)
        else:
            is_https = url.scheme == "https"
            connected = _connected(url.hostname or "", url.port or (443 if is_https else 80), tls=is_https)
        async with connected as server:
            server.writer.write(head)
            await _relay(client, server)


@contextlib.asynccontextmanager
async def _open(peer: _Peer) -> AsyncIterator[_Peer]:
    """Close the connection in the end. A peer that is gone, or sends no HTTP, ends it."""
    try:
        with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            yield peer
    except asyncio.CancelledError:
        peer.writer.transport.abort()
        raise
    finally:
        peer.writer.close()


@contextlib.asynccontextmanager
async def _connected(host: str, port: int, *, tls: bool = False) -> AsyncIterator[_Peer]:
    """Raises OSError if the server cannot be reached."""
    async with _open(_Peer(*await asyncio.open_connection(host, port, ssl=tls or None))) as server:
        yield server


async def _relay(one: _Peer, other: _Peer) -> None:
    """Pass bytes on in both directions until one peer has ended."""
    copies = [asyncio.create_task(_copy(*pair)) for pair in ((one, other), (other, one))]
    try:
        await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for copy in copies:
            copy.cancel()


async def _copy(source: _Peer, target: _Peer) -> None:
    with contextlib.suppress(OSError):
        while data := await source.reader.read(_CHUNK):
            target.writer.write(data)
            await target.writer.drain()
