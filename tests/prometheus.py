"""A real Prometheus with the stack's own configuration and alert rules, at its usual pace or at a faster one."""

import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import yaml

from crypto_updates.local.servers import Server
from tests.machine import LackError, Need
from tests.support import ROOT

FOLDER = ROOT / "deploy" / "observability"
# Their own: a quarter of a minute from scrape to scrape, and alerts that wait for minutes.
MINUTE_SECONDS = 60.0
SCRAPES_A_MINUTE = 4


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`. Raises LackError."""
    if found := shutil.which(name):
        return found
    raise LackError(Need.PROMETHEUS, f"{name} is not on the PATH")


def rules() -> list[dict[str, Any]]:
    """The alert rules, in their order."""
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Those of the dashboard, also of the panels within a row that is closed."""
    dashboard = json.loads((FOLDER / "grafana" / "crypto-updates.json").read_text(encoding="utf-8"))
    return [target["expr"] for panel in _all(dashboard["panels"]) for target in panel.get("targets", ())]


def _all(panels: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in panels:
        yield panel
        yield from _all(panel.get("panels", ()))


class Prometheus(Server):
    """Scrapes the targets of each job, `host:port`. All of its minutes last `minute` seconds.

    `scrape`: the seconds from scrape to scrape, if they are not to be in proportion.
    """

    name = "prometheus"
    scheme = "http"

    def __init__(
        self, targets: Mapping[str, Sequence[str]], minute: float = MINUTE_SECONDS, scrape: float | None = None
    ) -> None:
        super().__init__()
        program(self.name)  # else the test is skipped
        self._targets = targets
        self._minute = minute
        self._evaluation = minute / SCRAPES_A_MINUTE
        self._scrape = scrape or self._evaluation

    def start(self) -> None:
        self.data.mkdir(parents=True, exist_ok=True)
        text = (FOLDER / "alerts.yaml").read_text(encoding="utf-8")
        (self.data / "alerts.yaml").write_text(self._paced(text), encoding="utf-8")
        (self.data / "prometheus.yaml").write_text(yaml.safe_dump(self._config()), encoding="utf-8")
        super().start()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of now. Raises AssertionError with Prometheus's words if it refuses the expression."""
        answer = httpx.post(f"{self.url}/api/v1/query", data={"query": expression}, trust_env=False, timeout=10)
        assert answer.status_code == httpx.codes.OK, f"{expression}: {answer.text}"
        result = answer.json()["data"]["result"]
        assert isinstance(result, list)
        return result

    def values(self, expression: str) -> list[float]:
        """The numbers of now; NaN, which stands for no data, is left out."""
        found = [float(sample["value"][1]) for sample in self.query(expression)]
        return [value for value in found if value == value]  # noqa: PLR0124 - NaN is not equal to itself

    def alerts(self, state: str = "firing") -> set[str]:
        """The alerts that are in this state, each with its station if it has one, as in `ApiStubDeaf nats`."""
        found = [sample["metric"] for sample in self.query(f'ALERTS{{alertstate="{state}"}}')]
        return {" ".join(labels[name] for name in ("alertname", "station") if name in labels) for labels in found}

    def _config(self) -> dict[str, Any]:
        config: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yaml").read_text(encoding="utf-8"))
        config["global"] = {
            "scrape_interval": _milliseconds(self._scrape),
            "scrape_timeout": _milliseconds(min(self._scrape, 10.0)),
            "evaluation_interval": _milliseconds(self._evaluation),
        }
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": list(self._targets.get(job["job_name"], ()))}]
        return config

    def _paced(self, text: str) -> str:
        """The rules with all of their times, which are minutes, at our pace."""
        return re.sub(r"\b(\d+)m\b", lambda found: _milliseconds(int(found[1]) * self._minute), text)

    def _args(self, port: int) -> Sequence[str]:
        return [
            f"--config.file={self.data / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.data / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]

    def _answers(self, port: int) -> bool:
        try:
            url = f"http://127.0.0.1:{port}/-/ready"
            return httpx.get(url, trust_env=False, timeout=2).is_success and self.status is None
        except httpx.TransportError:
            return False


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f}ms"
