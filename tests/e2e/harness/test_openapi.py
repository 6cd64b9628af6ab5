"""The control port keeps to its own OpenAPI document, whatever it is asked."""

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from jsonschema import Draft202012Validator
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from crypto_updates.harness import answer
from crypto_updates.harness.crypto import Crypto
from tests.e2e.harness.test_control import Ask, asked, url

__all__ = ["asked", "url"]
LISTENER = Path(__file__).with_name("listener.py")
# What lasts as long as it is told to: an hour, if a test draws that.
LASTING = "/(clock|wait|faults/.*)"
# Its idea of white space, and of Base64, is not pydantic's; Starlette tells only the first method of a path.
EXCLUDED = "positive_data_acceptance,allow_header_conformance"


def test_it_is_valid_and_has_every_path(asked: Ask) -> None:
    _, document = asked("GET", "/openapi.json")
    assert OPENAPI_31_VALIDATOR.is_valid(document)
    operations = {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods}
    read = {"/env", "/subscribers", "/published", "/reactions", "/market", "/faults"}
    done = {"/events", "/market", "/faults/{target}", "/wait", "/clock", "/reset"}
    assert operations == {f"GET {path}" for path in read} | {f"POST {path}" for path in done}
    (target,) = document["paths"]["/faults/{target}"]["post"]["parameters"]
    assert target["schema"]["enum"] == ["nats", "mongo", "link", "mongo_link"]


def test_every_answer_is_as_it_says(crypto: Crypto, asked: Ask) -> None:
    crypto.app(sys.executable, str(LISTENER))
    crypto.publish()
    crypto.reactions.wait(1)
    answer.get(f"{crypto.market.url}/api/v3/ping")
    _, document = asked("GET", "/openapi.json")
    for path, methods in document["paths"].items():
        if "get" in methods:
            _, found = asked("GET", path)
            assert found, path
            schema = methods["get"]["responses"]["200"]["content"]["application/json"]["schema"]
            jsonschema.validate(found, {"allOf": [schema], "components": document["components"]}, Draft202012Validator)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("options", "operations"),
    [
        (["--exclude-path-regex", LASTING], "9 selected / 12 total"),
        (["--include-path-regex", LASTING, "--mode", "negative"], "3 selected / 12 total"),
    ],
    ids=["any request", "bad requests to what lasts"],
)
def test_schemathesis_finds_no_failure(url: str, tmp_path: Path, options: list[str], operations: str) -> None:
    common = ["--exclude-checks", EXCLUDED, "--max-examples", "10", "--request-timeout", "60", "--seed", "2026"]
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--no-color", *common, *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert operations in run.stdout
