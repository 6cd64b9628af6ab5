"""HTTP/1.1 as uvicorn reads it, with bounds for a request's head, and problem documents for what is no request."""

import asyncio
import sys

from httptools import HttpParserCallbackError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from crypto_updates.service import problem

# From the connection, or from the first byte of a later request, until its head is complete.
HEAD_SECONDS = 10.0
# Somewhat more than this is accepted or refused, by how it arrives. A cursor has twice the bytes of an id.
MAX_HEAD_BYTES = 64 * 1024


class Protocol(HttpToolsProtocol):
    _deadline: asyncio.TimerHandle
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._deadline = self.loop.call_later(HEAD_SECONDS, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # In pieces, because one that has the end of the head is not counted.
        for start in range(0, len(data), MAX_HEAD_BYTES):
            piece = data[start : start + MAX_HEAD_BYTES]
            super().data_received(piece)
            if self.transport.is_closing():
                return
            self._head_bytes += len(piece) if self._in_head else 0
            if self._head_bytes >= MAX_HEAD_BYTES:
                detail = f"the request's line and headers have more than {MAX_HEAD_BYTES} bytes"
                self._refuse(431 if self.headers else 414, detail)
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._deadline.cancel()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._deadline.cancel()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        # uvicorn calls this while it handles the parser's error, which says more. A callback fails at the target.
        error = sys.exception()
        reason = "its target is not a path" if isinstance(error, HttpParserCallbackError) else str(error or msg)
        self._refuse(400, f"not a valid HTTP request: {reason}")

    def _refuse(self, status: int, detail: str) -> None:
        answer = problem.failed(status, detail, {"Cache-Control": "no-store", "Connection": "close"})
        headers = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
        self.transport.write(STATUS_LINE[status] + headers + b"\r\n" + bytes(answer.body))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: HTTP lets a server answer as if no upgrade had been asked for."""
