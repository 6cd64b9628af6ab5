"""What the worker counts, with names and units as Prometheus wants them."""

from prometheus_client import Counter, Gauge, Histogram, Info

from crypto_updates import __version__

BUILD = Info("crypto_build", "The version that runs")
BUILD.info({"version": __version__})
PUBLISHED = Counter("crypto_worker_published", "Events acknowledged by NATS, by result", ["result"])
for _result in ("sent", "duplicate"):
    PUBLISHED.labels(_result)  # a series that begins at 0 shows its first event as an increase, too
FETCH_FAILURES = Counter("crypto_worker_fetch_failures", "Slots whose market data could not be fetched")
MISSED = Counter("crypto_slots_missed", "Slots that passed while no worker ran, before MISSED_SLOTS was applied")
LAST_SLOT = Gauge("crypto_worker_last_published_slot_timestamp_seconds", "The newest slot that NATS acknowledged")
OUTBOX = Gauge("crypto_outbox_events", "Events that were made and that NATS has not acknowledged yet")
REQUESTS = Counter(
    "crypto_market_requests",
    "Requests to a market source, by HTTP status; timeout and error where there was no whole answer",
    ["source", "status"],
)
FETCH_SECONDS = Histogram(
    "crypto_market_fetch_seconds",
    "How long the data of a slot took, with all retries",
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 240),
)
QUOTE_AGE = Gauge(
    "crypto_market_quote_age_seconds",
    "The age of this worker's newest quote, by coin; +Inf for a coin that has none",
    ["coin"],
)
QUOTE_AGE_LIMIT = Gauge(
    "crypto_market_quote_age_limit_seconds",
    "The age above which a quote is stale: a day, or four intervals of the schedule where these are longer",
)
PRICE = Gauge(
    "crypto_price",
    "The price in this worker's newest event; none while it makes no events or gets no price",
    ["coin", "currency"],
)
