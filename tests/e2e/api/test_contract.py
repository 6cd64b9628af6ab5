"""The HTTP API keeps to its own OpenAPI document, whatever it is asked."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.api.conftest import Api


def test_every_answer_in_json_has_a_schema(api: Api) -> None:
    paths = api.read("/openapi.json")["paths"]
    answers = {
        (path, status): content["application/json"]["schema"]
        for path, operations in paths.items()
        for status, answer in operations["get"]["responses"].items()
        if "application/json" in (content := answer.get("content", {}))
    }
    assert ("/readyz", "503") in answers
    assert [place for place, schema in answers.items() if not schema] == []


@pytest.mark.timeout(180)
def test_schemathesis_finds_no_failure(api: Api, tmp_path: Path) -> None:
    # The event stream has no end, so it cannot be asked thousands of times.
    options = ["--exclude-path", "/events/stream", "--max-examples", "40", "--no-color", "--seed", "2026"]
    url = f"{api.url}/openapi.json"
    command = [sys.executable, "-m", "schemathesis.cli", "run", url, *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " 12 selected / 13 total" in run.stdout
    assert "unresolvable" not in run.stdout
