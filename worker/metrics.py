"""What the worker counts, with names and units as Prometheus wants them."""

from prometheus_client import Counter, Gauge, Info

from crypto_updates import __version__

BUILD = Info("crypto_build", "The version that runs")
BUILD.info({"version": __version__})
PUBLISHED = Counter("crypto_worker_published", "Events acknowledged by NATS, by result", ["result"])
FETCH_FAILURES = Counter("crypto_worker_fetch_failures", "Slots whose market data could not be fetched")
MISSED = Counter("crypto_slots_missed", "Slots that passed while no worker ran, before MISSED_SLOTS was applied")
LAST_SLOT = Gauge("crypto_worker_last_published_slot_timestamp_seconds", "The newest slot that NATS acknowledged")
OUTBOX = Gauge("crypto_outbox_events", "Events that were made and that NATS has not acknowledged yet")
