"""What the API stub counts of a batch."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.exposition import generate_latest as as_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from api_stub import metrics as api_stub_metrics
from api_stub.metrics import Metrics
from api_stub.store import Written
from crypto_updates import __version__
from crypto_updates.bus.delivery import Delivery
from worker.metrics import PUBLISHED

NOW = datetime(2023, 11, 21, 14, 45, tzinfo=UTC)
UNKNOWN: dict[str, Any] = {"worker": {"slot": None}}
STATE: dict[str, Any] = {
    "worker": {"ok": False, "reason": "not come", "slot": datetime(2023, 11, 21, 14, 30, tzinfo=UTC)},
    "nats": {"ok": True, "reason": "no JetStream", "pending": 1, "ack_pending": 2, "redelivered": 0},
    "api_stub": {"ok": None, "reason": "no answer"},
    "mongo": {"ok": True, "reason": None, "events": 7, "dead_letters": 3},
    "slots": {"ok": True, "reason": None, "stored": 90, "late": 3, "missing": 2, "pending": 1},
}


@pytest.fixture(autouse=True)
def _frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is NOW when a batch is counted."""
    monkeypatch.setattr(api_stub_metrics, "datetime", SimpleNamespace(now=lambda _: NOW))


def event(seconds: float) -> dict[str, Any]:
    """An event whose slot was `seconds` ago."""
    return {"timestamp": NOW - timedelta(seconds=seconds)}


def delivery(times: int) -> Delivery:
    """A delivery as the durable consumer makes it for the nth time."""
    reply = f"$JS.ACK.CRYPTO.api_stub.{times}.7.9.1700577000000000000.0"
    return Delivery.of(Msg(Client(), "crypto.updates", reply, b""))


def values(metrics: Metrics) -> dict[str, float]:
    families = text_string_to_metric_families(metrics.exposition(UNKNOWN)[0].decode())
    samples = (sample for family in families for sample in family.samples)
    return {sample.name + "".join(sample.labels.values()): sample.value for sample in samples}


def test_it_counts_what_became_of_a_batch() -> None:
    metrics = Metrics()
    batch = [delivery(1), delivery(2), delivery(3)]
    metrics.count(batch, [event(0.2), event(2), event(5000), event(9)], Written({1}, {3: "body"}), 5)
    metrics.count([delivery(1)], [event(0)], Written(set(), {}), 0)
    found = values(metrics)
    assert found["crypto_events_stored_total"] == 3
    assert found["crypto_events_duplicate_total"] == 1
    assert found["crypto_dead_letters_total"] == 5
    assert found["crypto_redeliveries_total"] == 2
    assert found["crypto_slot_lag_seconds_count"] == 3
    assert [found[f"crypto_slot_lag_seconds_bucket{le}"] for le in ("0.05", "0.25", "3600.0", "86400.0")] == [
        1,
        2,
        2,
        3,
    ]


def test_a_slot_in_the_future_has_no_lag_and_one_of_long_ago_its_own() -> None:
    metrics = Metrics()
    ancient = {"timestamp": datetime.min.replace(tzinfo=UTC)}
    metrics.count([], [event(-5000), ancient], Written(set(), {}), 0)
    found = values(metrics)
    assert (found["crypto_slot_lag_seconds_bucket0.05"], found["crypto_slot_lag_seconds_count"]) == (1, 2)


def test_core_nats_delivers_nothing_again() -> None:
    metrics = Metrics()
    metrics.count([Delivery.of(Msg(Client(), "crypto.updates", "", b""))], [], Written(set(), {}), 1)
    assert (values(metrics))["crypto_redeliveries_total"] == 0


def test_two_api_stubs_in_a_process_count_for_themselves() -> None:
    one, two = Metrics(), Metrics()
    one.count([], [event(1)], Written(set(), {}), 0)
    assert [(values(metrics))["crypto_events_stored_total"] for metrics in (one, two)] == [1, 0]


def test_process_and_python_are_told_too() -> None:
    found = values(Metrics())
    assert found["process_open_fds"] > 0
    assert any(name.startswith("python_info") for name in found)


def api_stub_as_openmetrics() -> str:
    content, media_type = Metrics().exposition(STATE, "application/openmetrics-text; version=1.0.0, text/plain;q=0.5")
    assert media_type.startswith("application/openmetrics-text; version=1.0.0")
    return content.decode()


def worker_as_openmetrics() -> str:
    PUBLISHED.labels("sent").inc(0)
    return as_openmetrics(REGISTRY).decode()


@pytest.mark.parametrize("service", [api_stub_as_openmetrics, worker_as_openmetrics])
def test_each_name_belongs_to_one_family_in_openmetrics_too(service: Callable[[], str]) -> None:
    """Its parser refuses two families of one name, and a counter's name has no _total there."""
    families = {family.name: family for family in openmetrics_families(service())}
    assert {name for name in families if name.startswith("crypto_")} >= {"crypto_build"}
    clashes = {name for name in families for suffix in ("_total", "_created", "_info") if name + suffix in families}
    assert clashes == set()
    (build,) = families["crypto_build"].samples
    assert (build.name, build.labels, build.value) == ("crypto_build_info", {"version": __version__}, 1)


def test_what_the_state_does_not_tell_is_left_out() -> None:
    metrics = Metrics()
    known, unknown = (metrics.exposition(state)[0].decode() for state in (STATE, UNKNOWN))
    for name, value in (("dead_letters_stored", 3), ("consumer_pending", 1), ("consumer_redelivered", 0)):
        assert f"\ncrypto_{name} {value:.1f}\n" in known
        assert f"\ncrypto_{name} " not in unknown
    # The last known slot stays.
    assert all("\ncrypto_last_stored_slot_timestamp_seconds 1.700577e+09\n" in text for text in (known, unknown))


def test_stations_and_slots_are_told_by_label_as_far_as_they_are_known() -> None:
    text = Metrics().exposition(STATE)[0].decode()
    told = {line for line in text.splitlines() if line.startswith(("crypto_station_", "crypto_slots"))}
    assert told == {
        'crypto_station_ok{station="worker"} 0.0',
        'crypto_station_ok{station="nats"} 1.0',
        'crypto_station_ok{station="mongo"} 1.0',
        'crypto_station_warnings{station="nats"} 1.0',
        'crypto_station_warnings{station="mongo"} 0.0',
        'crypto_slots{state="stored"} 90.0',
        'crypto_slots{state="late"} 3.0',
        'crypto_slots{state="missing"} 2.0',
        'crypto_slots{state="pending"} 1.0',
    }
    unknown = Metrics().exposition({"worker": {"ok": None, "slot": None}, "slots": {"ok": None, "reason": "refused"}})
    assert b"crypto_slots{" not in unknown[0]
    assert b"crypto_station_ok{" not in unknown[0]
