"""The Compose files and the Dockerfiles as text: every service is confined, and gets every variable that it reads."""

import re
from typing import Any

import pytest
import yaml

from api_stub.config import ApiSettings
from stack.check.repair import RepairSettings
from stack.setup import servers
from tests.support import ROOT
from worker.config import WorkerSettings
from worker.market.network import Network

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BESIDE: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.api-server.yaml").read_text("utf-8"))["services"]
OBSERVERS: dict[str, dict[str, Any]] = yaml.safe_load(
    (ROOT / "compose.observability.yaml").read_text(encoding="utf-8")
)["services"]
# The server under test is other people's, and only a variable is added to the services of the stack.
CONFINED = SERVICES | {name: part for name, part in BESIDE.items() if name not in {*SERVICES, "api_server"}} | OBSERVERS
IMAGES = ("worker/Dockerfile", "api_stub/Dockerfile", "stack/Dockerfile", "stack/harness.Dockerfile")
# The token and the .creds file are for other people's servers. This machine's proxies and files are not a container's.
ELSEWHERE = {"nats_token", "nats_creds", "health_host", "health_port", *Network._fields}


# What is new in the cluster extends a service of compose.yaml, or changes a few of its settings.
EXTENDING = {"extends", "environment", "command", "ports", "volumes", "mem_limit", "depends_on"}
OVERLAY = (ROOT / "compose.cluster.yaml").read_text(encoding="utf-8").replace(" !override ", " ")
CLUSTER: dict[str, dict[str, Any]] = yaml.safe_load(OVERLAY)["services"]


@pytest.mark.parametrize("service", CLUSTER)
def test_every_member_of_the_cluster_is_confined_as_in_the_single_stack(service: str) -> None:
    part = CLUSTER[service]
    assert part.keys() <= EXTENDING
    extended = part.get("extends", {"file": "compose.yaml", "service": service})
    assert extended == {"file": "compose.yaml", "service": service.rstrip("23")}
    assert extended["service"] in SERVICES
    assert all(port.startswith("127.0.0.1:") for port in part.get("ports", []))


def test_every_server_of_the_cluster_has_a_volume_of_its_own() -> None:
    ours = [name for name in CLUSTER if name.startswith(("nats", "mongo"))]
    volumes = [volume for name in ours for volume in CLUSTER[name].get("volumes", ())]
    assert (len(ours), len({*volumes, "mongo-data", "nats-data"})) == (6, 7)
    assert "volumes" not in CLUSTER["mongo"]  # it goes on with its data


def test_the_limits_of_all_that_lasts_in_the_cluster_are_6_gib_at_most() -> None:
    lasting = [name for name in CLUSTER if name not in {"credentials", "provision", "stack"}]
    limits = [CLUSTER[name].get("mem_limit", SERVICES[name.rstrip("23")]["mem_limit"]) for name in lasting]
    assert len(limits) == 10
    assert sum(int(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]] for limit in limits) <= 6 * 1024


def test_each_service_of_the_cluster_knows_all_its_servers() -> None:
    urls = {part["environment"]["NATS_URL"] for part in CLUSTER.values() if "NATS_URL" in part.get("environment", ())}
    assert urls == {",".join(f"nats://{server}:4222" for server in servers.NATS)}


@pytest.mark.parametrize("service", CONFINED)
def test_every_service_is_confined(service: str) -> None:
    part = CONFINED[service]
    assert part["cap_drop"] == ["ALL"]
    assert "cap_add" not in part
    assert part["security_opt"] == ["no-new-privileges:true"]
    assert part["read_only"] is True
    assert part["pids_limit"] <= 500
    assert part["mem_limit"]
    assert not part.get("privileged")
    assert all(port.startswith("127.0.0.1:") for port in part.get("ports", []))
    assert not any("docker.sock" in str(volume) for volume in part.get("volumes", []))


# A repair asks for past prices, which need no plan, and has no file, catch-up and metrics of its own.
ELSEWHERE_FOR_A_REPAIR = {"coingecko_plan", "coingecko_api_key", "outbox_dir", "missed_slots", "nats_api_prefix"}
ELSEWHERE_FOR_A_REPAIR |= {"price_metrics"}


@pytest.mark.parametrize(("service", "settings"), [("worker", WorkerSettings), ("api_stub", ApiSettings)])
def test_a_service_is_given_every_variable_that_it_reads(service: str, settings: type[WorkerSettings]) -> None:
    given = {re.sub("_FILE$", "", name).lower() for name in SERVICES[service]["environment"]}
    assert settings.model_fields.keys() - ELSEWHERE <= given


def test_a_repair_is_given_every_variable_that_it_reads_and_reaches_the_market() -> None:
    given = {re.sub("_FILE$", "", name).lower() for name in SERVICES["stack"]["environment"]}
    wanted = RepairSettings.model_fields.keys() - ELSEWHERE - ELSEWHERE_FOR_A_REPAIR - ApiSettings.model_fields.keys()
    assert wanted <= given
    assert {name for name in SERVICES["worker"]["networks"] if not COMPOSE["networks"][name]} == {"edge"}
    assert "edge" in SERVICES["stack"]["networks"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_password_comes_as_a_file_and_never_as_a_variable(service: str) -> None:
    environ = SERVICES[service].get("environment", {})
    given = {name: value for name, value in environ.items() if re.search("PASSWORD|MONGO.*_URL", name)}
    assert all(name.endswith("_FILE") and value.startswith("/run/secrets/") for name, value in given.items())


@pytest.mark.parametrize("image", [*IMAGES, "nats/Dockerfile"])
def test_an_image_says_what_it_is(image: str) -> None:
    text = (ROOT / image).read_text(encoding="utf-8")
    labels = dict(re.findall(r"org\.opencontainers\.image\.(\w+)=\"(.+?)\"", text))
    assert labels.keys() == {"title", "description", "licenses", "version"}
    assert labels["version"] == "$VERSION"


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_takes_whole_folders_so_that_a_new_room_is_in_it(image: str) -> None:
    text, room = (ROOT / image).read_text(encoding="utf-8"), image.partition("/")[0]
    copied = set(re.findall(r"^COPY (?!--from)(\S+)", text, re.MULTILINE)) - {f"{room}/requirements.lock"}
    assert copied >= {"crypto_updates", room}
    assert all((ROOT / name).is_dir() for name in copied)


def test_the_bus_and_the_database_have_no_way_out_and_mongodb_has_no_port() -> None:
    assert {name for name, network in COMPOSE["networks"].items() if network} == {"bus", "database"}
    assert SERVICES["mongo"]["networks"] == ["database"]
    assert "ports" not in SERVICES["mongo"]
    assert SERVICES["mongo_port"]["profiles"]


def test_what_observes_the_stack_reaches_no_database_and_reads_files_that_are_there() -> None:
    networks = {network for part in OBSERVERS.values() for network in part.get("networks", [])}
    assert networks == {"bus", "watch"}
    assert OBSERVERS["nats_exporter"]["network_mode"] == "service:nats"
    mounts = [volume.split(":") for part in OBSERVERS.values() for volume in part.get("volumes", [])]
    files = [(ROOT / source, *mode) for source, _, *mode in mounts if source.startswith("./")]
    assert len(files) == 5
    assert all(path.is_file() and mode == "ro" for path, mode in files)


def test_the_exporter_of_nats_does_not_run_as_root_and_names_its_figures_as_in_kubernetes() -> None:
    exporter = OBSERVERS["nats_exporter"]
    assert not exporter["user"].startswith(("0", "root"))
    # https://github.com/nats-io/k8s has it in files/stateful-set/prom-exporter-container.yaml.
    assert " -prefix nats " in exporter["command"][0]
