"""An API server of one's own beside the stack: it hears the events, and takes our market for CoinGecko."""

import json
from collections.abc import Iterator

import httpx
import pytest

from crypto_updates.harness.condition import eventually
from crypto_updates.local import ports
from tests.compose.project import Project, must

pytestmark = pytest.mark.timeout(400)

DOTENV = """
COMPOSE_FILE=compose.yaml:compose.api-server.yaml
API_SERVER=examples/python
API_SERVER_PORT={port}
MARKET_SOURCE=none
SCHEDULE=*/2 * * * * *
"""


@pytest.fixture(scope="module")
def port() -> int:
    return ports.free(3000)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("compose"), DOTENV.format(port=port))
    project.down()
    try:
        project.up("api_server", "worker")
        yield project
    finally:
        project.down()


def test_it_stores_the_prices_of_our_market_at_each_event(project: Project, port: int) -> None:
    def price() -> object:
        return httpx.get(f"http://127.0.0.1:{port}/stats?coin=bitcoin", timeout=5).json()["price"]

    assert eventually(price, 60)
    must(project.compose("exec", "market", "python", "-m", "stack", "market", "set", "bitcoin=12345.5"))
    assert eventually(lambda: price() == 12345.5, 30)


def test_it_reaches_nothing_of_the_stack_but_nats(project: Project) -> None:
    config = json.loads(must(project.compose("config", "--format", "json")))
    networks = {name: set(service["networks"]) for name, service in config["services"].items() if "networks" in service}
    near = {name for name, joined in networks.items() if joined & networks["api_server"]}
    assert near == {"api_server", "api_server_mongo", "market", "nats"}
    assert networks["market"] == networks["api_server_mongo"] == {"api_server"}
