"""Runs the API stub until SIGTERM or SIGINT."""

import argparse
import gc
import logging
import sys
from datetime import UTC, datetime

from api_stub import indexes
from api_stub.config import ApiSettings
from api_stub.errors import ApiError
from api_stub.http import web
from api_stub.http.gate import gate
from api_stub.http.live import Live
from api_stub.http.server import serve
from api_stub.http.state import State
from api_stub.metrics import Metrics
from api_stub.reader import Reader
from api_stub.store import Store
from api_stub.subscriber import Subscriber
from crypto_updates.bus import spans
from crypto_updates.bus.client import Bus
from crypto_updates.bus.consumer import Consumer
from crypto_updates.service import lifecycle

log = logging.getLogger(__name__)


async def run(settings: ApiSettings) -> int:
    try:
        with spans.exported("api_stub", settings):
            await serve_and_store(settings)
    except ApiError as error:
        log.error("[HTTP] %s", error)
    return 1


async def serve_and_store(settings: ApiSettings) -> None:
    metrics = Metrics()
    async with (
        Store(settings.mongo_url, settings.mongo_db) as store,
        Reader(settings.mongo_reader_url or settings.mongo_url, settings.mongo_db) as reader,
        Bus(settings, "api_stub") as bus,
        Consumer(bus, settings.batch, metrics.dropped.inc) as consumer,
    ):
        subscriber = Subscriber(consumer, store, metrics, settings.max_events_per_second)
        state = State(settings, bus, store, reader, subscriber)
        live = Live(reader, state.recent)
        metrics.clients.set_function(lambda: live.clients)
        metrics.stream.set_function(lambda: live.is_open)
        app = web.application(settings, bus, store, reader=reader, metrics=metrics, live=live, state=state)
        # All objects up to here stay. Without this, the garbage collector would walk them again and again, 50 ms each.
        gc.freeze()
        # The objects of a batch live until it is stored. Looking for garbage after every 700 was a tenth of a drain.
        gc.set_threshold(100_000)
        hosts = (settings.http_host, *(settings.http_allowed_hosts or ()))
        served = serve(gate(app, hosts), settings.http_host, settings.http_port)
        kept = indexes.kept(
            store.database, settings.feed, lambda: reader.first(settings, datetime.now(UTC)), settings.max_event_age
        )
        async with served, live, kept:
            log.info("[HTTP] Listening on http://%s:%d", settings.http_host, settings.http_port)
            await subscriber.run()


if __name__ == "__main__":
    argparse.ArgumentParser(prog="python -m api_stub", description=__doc__).parse_args()
    sys.exit(lifecycle.main(ApiSettings, run))
