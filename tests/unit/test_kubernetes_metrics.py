"""deploy/kubernetes: a Prometheus finds the pods by the names that alerts, dashboard and autoscaler go by."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_stub.metrics import ASKED
from tests import kubernetes
from tests.kubernetes import Resource, of_kind, pods
from tests.prometheus import FOLDER, program

POD = "__meta_kubernetes_pod_"
# The ports of NATS's Helm chart: clients, routes, monitoring, and its exporter.
NATS_PORTS = (4222, 6222, 8222, 7777)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory: pytest.TempPathFactory) -> list[Resource]:
    return kubernetes.scaled(tmp_path_factory.mktemp("own"))


def scraping() -> dict[str, Any]:
    jobs: list[dict[str, Any]] = kubernetes.values("prometheus.yaml")["scrape_configs"]
    (job,) = jobs
    return job


def target(name: str, port: int, phase: str = "Running") -> dict[str, Any]:
    """A port of a pod, as Prometheus knows it from the Kubernetes API."""
    known = {"label_app_kubernetes_io_name": name, "container_port_number": str(port), "name": name, "phase": phase}
    labels = {f"{POD}{key}": value for key, value in known.items()}
    return {"targets": [f"10.0.0.1:{port}"], "labels": labels | {"__meta_kubernetes_namespace": "crypto-updates"}}


def found(targets: list[dict[str, Any]], folder: Path) -> list[dict[str, str]]:
    """The labels of each target that Prometheus scrapes. (Debian's knows no Kubernetes, so the targets are given.)"""
    job = {key: value for key, value in scraping().items() if key != "kubernetes_sd_configs"}
    path = folder / "prometheus.yaml"
    path.write_text(yaml.safe_dump({"scrape_configs": [job | {"static_configs": targets}]}), encoding="utf-8")
    command = [program("promtool"), "check", "service-discovery", "--timeout=2s", path, job["job_name"]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [one["labels"] for one in json.loads(done.stdout) if one.get("labels")]


def test_a_prometheus_finds_both_services_and_nats_as_the_jobs_of_alerts_and_dashboard(
    scaled: list[Resource], tmp_path: Path
) -> None:
    (discovery,) = scraping()["kubernetes_sd_configs"]
    assert discovery["role"] == "pod"
    assert set(discovery["namespaces"]["names"]) == of_kind(scaled, "Namespace").keys()
    targets = [
        target(template["metadata"]["labels"]["app.kubernetes.io/name"], port["containerPort"], phase)
        for _, template in pods(scaled)
        for port in template["spec"]["containers"][0].get("ports", [])
        for phase in ("Running", "Failed")
    ]
    labels = found([*targets, *(target("nats", port) for port in NATS_PORTS)], tmp_path)
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
    assert sorted(one["job"] for one in labels) == sorted(job["job_name"] for job in config["scrape_configs"])
    assert {(one["namespace"], one["pod"]) for one in labels} == {
        ("crypto-updates", name) for name in ("worker", "api-stub", "nats")
    }


def test_the_autoscaler_follows_a_metric_of_the_api_stub_and_sets_the_number_alone(scaled: list[Resource]) -> None:
    spec = of_kind(scaled, "HorizontalPodAutoscaler")["api-stub"]["spec"]
    metric = spec["metrics"][0]["external"]["metric"]["name"]
    scaled_pods = of_kind(scaled, spec["scaleTargetRef"]["kind"])[spec["scaleTargetRef"]["name"]]
    assert metric in {f"crypto_{name}" for name, _ in ASKED.values()}
    assert "replicas" not in scaled_pods["spec"]
    rule = kubernetes.values("autoscaler/adapter.values.yaml")["rules"]["external"][0]
    assert rule["seriesQuery"].startswith(f"{metric}{{")
    # It knows the metric's namespace by a label, which Prometheus gives it.
    assert rule["resources"]["overrides"].keys() <= {one.get("target_label") for one in scraping()["relabel_configs"]}
