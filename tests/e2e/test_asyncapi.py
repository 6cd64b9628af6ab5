"""The documents in docs/, as the official parser of AsyncAPI and a validator in another language read them."""

import json
import os
import subprocess
from typing import Any

import jsonschema
import pytest
from jsonschema import Draft7Validator
from nats.aio.client import Client

from crypto_updates.contract import asyncapi
from tests import contract, node
from tests.e2e.conftest import Stack
from tests.support import ROOT
from tests.unit.test_contract import BODIES, is_taken

pytestmark = pytest.mark.timeout(180)

TAKEN = {body.decode(): taken for body in BODIES if (taken := is_taken(body)) is not None}


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    texts = tmp_path_factory.mktemp("asyncapi") / "texts.json"
    texts.write_text(json.dumps([*TAKEN]), encoding="utf-8")
    files = [
        node.install(ROOT / "tests" / "asyncapi") / "parse.js",
        *map(contract.DOCS.joinpath, contract.texts()),
        texts,
    ]
    run = subprocess.run(
        ["node", *files], env=os.environ | node.path(), capture_output=True, text=True, check=False, timeout=60
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_the_official_parser_finds_no_problem(parsed: dict[str, Any]) -> None:
    assert parsed["problems"] == []
    assert parsed["operations"] == [
        ["sendEvent", "send", "crypto.updates", "0.1.0", 2],
        ["receiveEvent", "receive", "crypto.updates", "0.1.0", 1],
        ["sendTrigger", "send", "crypto.update", "0.1.0", 1],
    ]


def test_a_validator_in_another_language_takes_the_same(parsed: dict[str, Any]) -> None:
    assert dict(zip(TAKEN, parsed["taken"], strict=True)) == TAKEN


async def test_a_worker_sends_what_the_document_says(stack: Stack, publisher: Client) -> None:
    document = asyncapi.document()
    said = document["components"]["messages"]["event"]
    heard = await publisher.subscribe(document["channels"]["events"]["address"])
    await publisher.flush()
    stack.worker("--once")
    sent = await heard.next_msg(timeout=30)
    assert {*(sent.headers or {})} == {*said["headers"]["properties"]}
    jsonschema.validate(sent.headers, said["headers"], Draft7Validator)
    references = {"allOf": [said["payload"]], "components": document["components"]}
    jsonschema.validate(json.loads(sent.data), references, Draft7Validator)
    assert json.loads(sent.data)["data"]
