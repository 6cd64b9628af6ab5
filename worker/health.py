"""The worker's /livez, /readyz and /metrics, answered by a thread, also while the event loop is busy."""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

log = logging.getLogger(__name__)


@contextlib.contextmanager
def serve(host: str, port: int, problem: Callable[[], str | None]) -> Iterator[None]:
    """Serve while the context lasts. `problem` makes a round trip and says why the worker is not ready, or None.

    If the port is taken, for example by a second worker on this machine, the worker runs without them.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = _answer(self.path.partition("?")[0], problem)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            log.debug(format, *args)

    try:
        server = ThreadingHTTPServer((host, port), Handler)
    except OSError as error:
        log.warning("[HEALTH] HEALTH_PORT=%d: %s; running without /livez, /readyz and /metrics", port, error.strerror)
        yield
        return
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


def _answer(path: str, problem: Callable[[], str | None]) -> tuple[int, str, bytes]:
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, generate_latest()
    if path == "/livez":
        return 200, "application/json", b'{"status":"alive"}'
    if path != "/readyz":
        return 404, "application/json", b'{"status":"not found"}'
    if reason := problem():
        return 503, "application/json", json.dumps({"status": "not ready", "reasons": [reason]}).encode()
    return 200, "application/json", b'{"status":"ready"}'
