"""What the API stub counts, and what NATS and MongoDB tell at a scrape, for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Info
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from api_stub.mongo import Document
from api_stub.store import Written
from crypto_updates import __version__
from crypto_updates.bus.delivery import Delivery

# From an event that goes straight through to one that an outage of a day held back.
LAG_BUCKETS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 86_400)
# What a scrape takes from the state: the place there, and the name and the help of the metric.
ASKED = {
    ("nats", "pending"): ("consumer_pending", "Events in the stream that were not delivered yet"),
    ("nats", "ack_pending"): ("consumer_ack_pending", "Events that were delivered and are not acknowledged yet"),
    ("nats", "redelivered"): ("consumer_redelivered", "Unacknowledged events that were delivered more than once"),
    ("mongo", "dead_letters"): ("dead_letters_stored", "Dead letters in MongoDB"),
    ("worker", "slot"): ("last_stored_slot_timestamp_seconds", "The newest slot of FEED in MongoDB, or the last known"),
}
STATIONS = ("worker", "nats", "api_stub", "mongo")
SLOT_STATES = ("stored", "late", "missing", "pending")


class Lag(Collector):
    """A histogram that takes a batch at once. prometheus_client's own takes single values, which was 4 % of a drain."""

    def __init__(self) -> None:
        self._counts = [0] * (len(LAG_BUCKETS_SECONDS) + 1)
        self._sum = 0.0

    def observe(self, lags: Sequence[float]) -> None:
        """Count the seconds from slot to store of several events."""
        self._sum += sum(lags)
        for lag in lags:
            self._counts[bisect_left(LAG_BUCKETS_SECONDS, lag)] += 1

    def collect(self) -> Iterator[HistogramMetricFamily]:
        bounds = [*map(str, map(float, LAG_BUCKETS_SECONDS)), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        text = "From the slot of an event until it was stored"
        yield HistogramMetricFamily("crypto_slot_lag_seconds", text, buckets=buckets, sum_value=self._sum)


class Asked(Collector):
    """What the state tells at a scrape. What it does not tell is left out."""

    def __init__(self) -> None:
        self.told: Document = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for (station, figure), (name, text) in ASKED.items():
            if (value := self.told.get(station, {}).get(figure)) is not None:
                yield GaugeMetricFamily(f"crypto_{name}", text, value)
        stations = {name: self.told[name] for name in STATIONS if name in self.told}
        known = {name: float(station["ok"]) for name, station in stations.items() if station.get("ok") is not None}
        yield _by("station", "crypto_station_ok", "1 if it works, 0 if not, as /state tells", known)
        # The worker's reason says what is missing, and that is no warning.
        warned = {name: float(bool(stations[name].get("reason"))) for name in STATIONS[1:] if known.get(name)}
        yield _by("station", "crypto_station_warnings", "1 if it works less well than it should, see /readyz", warned)
        slots = self.told.get("slots") or {}
        counts = {state: float(slots[state]) for state in SLOT_STATES if state in slots}
        yield _by(
            "state", "crypto_slots", "The slots of a day, or the newest 300 of a dense schedule, by state", counts
        )


def _by(label: str, name: str, text: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, figure in values.items():
        family.add_metric([value], figure)
    return family


class Metrics:
    """Each has its own registry, so a process may have several. `stored` counts the events that it stored."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        Info("crypto_build", "The version that runs", registry=self._registry).info({"version": __version__})
        self._stored = self._counter("crypto_events_stored", "Events stored in MongoDB")
        self._duplicate = self._counter("crypto_events_duplicate", "Events that were stored already")
        self._dead = self._counter("crypto_dead_letters", "Messages that were moved to dead_letters")
        self.dropped = self._counter(
            "crypto_core_dropped", "Events of core NATS that were dropped: no room, or the stop"
        )
        self._redeliveries = self._counter("crypto_redeliveries", "Deliveries of a message after its first")
        self.clients = Gauge("crypto_stream_clients", "Open event streams", registry=self._registry)
        self.stream = Gauge(
            "crypto_stream_open", "1 while the clients are sent what is stored; 0 without any", registry=self._registry
        )
        self._lag = Lag()
        self._registry.register(self._lag)
        self._asked = Asked()
        self._registry.register(self._asked)
        self._newest: datetime | None = None
        self.stored = 0

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, registry=self._registry)

    def count(self, batch: Sequence[Delivery], events: Sequence[Document], written: Written, dead: int) -> None:
        """Count a batch: its events, what became of them, and how many messages became dead letters."""
        now = datetime.now(UTC)
        old = written.duplicates | written.rejected.keys()
        new = [event for index, event in enumerate(events) if index not in old] if old else events
        self._lag.observe([max((now - event["timestamp"]).total_seconds(), 0.0) for event in new])
        self._stored.inc(len(new))
        self.stored += len(new)
        self._duplicate.inc(len(written.duplicates))
        self._dead.inc(dead)
        self._redeliveries.inc(sum(delivery.times > 1 for delivery in batch))

    def exposition(self, state: Document, accept: str = "") -> tuple[bytes, str]:
        """All metrics, without what the state does not tell, and their media type: what the Accept header asks for."""
        self._newest = state["worker"]["slot"] or self._newest
        self._asked.told = state | {"worker": state["worker"] | {"slot": self._newest and self._newest.timestamp()}}
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type
