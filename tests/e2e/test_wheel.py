"""The wheel in a fresh environment, for a user whose own modules have the names of ours. The clone is not in sight."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from crypto_updates.local import ports
from crypto_updates.local.process import Process
from tests.support import ROOT

pytestmark = pytest.mark.timeout(240)

TESTS = """
import pathlib

import bus, stack, watchdog, worker
import crypto_updates
from crypto_updates.harness.condition import eventually

def test_each_module_is_the_one_that_is_meant():
    assert [module.__doc__ for module in (bus, stack, worker, watchdog)] == ["mine"] * 3 + ["of PyPI"]
    assert crypto_updates.__file__.startswith({prefix!r})

def test_a_worker_publishes(service, nats_url):
    own = {{"MARKET_SOURCE": "simulated", "SCHEDULE": "* * * * * *", "HEALTH_PORT": "{port}"}}
    service("worker", NATS_URL=nats_url, **own).wait_for_line("[PUBLISH] Sent crypto.update event", 60)

def test_a_server_under_test_has_all_that_it_needs(crypto):
    crypto.app("sh", "-c", "echo $NATS_URL; sleep 60", ready="nats://", subscribes=None)
    crypto.worker("* * * * * *")
    assert eventually(lambda: [found for found in crypto.published if found.json().get("source") == "coingecko"])
    preload = pathlib.Path(crypto.env()["NODE_OPTIONS"].split('"')[1])
    assert preload.is_file()
    assert preload.is_relative_to({prefix!r})
"""


def run(*command: object, cwd: Path, **environ: str) -> str:
    done = subprocess.run(
        [*map(str, command)], env=clean(environ), cwd=cwd, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def clean(environ: dict[str, str]) -> dict[str, str]:
    """Without the clone on the path, and with the real servers, which stand beside the Python of this test."""
    servers = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTEST_ADDOPTS")}
    return kept | {"PATH": servers} | environ


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel, PyPI's watchdog or what stands for it, and what both depend on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).strip())
    # A line of a .pth file is a folder on the path, where other .pth files, as of an editable install, do not count.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    (site / "watchdog").mkdir()
    (site / "watchdog" / "__init__.py").write_text('"""of PyPI"""', encoding="utf-8")
    run(sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel, cwd=folder)
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project with modules of its own."""
    for package in ("bus", "worker"):
        (tmp_path / package).mkdir()
    for module in ("stack.py", "bus/__init__.py", "worker/__init__.py"):
        (tmp_path / module).write_text('"""mine"""', encoding="utf-8")
    return tmp_path


def test_the_wheel_adds_one_name(wheel: Path) -> None:
    files = zipfile.ZipFile(wheel).namelist()
    names = {name.split("/")[0] for name in files}
    distribution = "-".join(wheel.name.split("-")[:2])
    assert names == {"crypto_updates", f"{distribution}.dist-info"}
    assert "crypto_updates/harness/preload.js" in files


def test_a_project_with_modules_of_the_same_names_uses_the_plugin(python: Path, project: Path) -> None:
    prefix = str(python.parents[1])
    (project / "test_it.py").write_text(TESTS.format(prefix=prefix, port=ports.free()), encoding="utf-8")
    assert "3 passed" in run(python, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py", cwd=project)


def test_the_console_script_is_the_module(python: Path, project: Path) -> None:
    script = run(python.with_name("crypto-updates"), "--help", cwd=project)
    assert script == run(python, "-m", "crypto_updates", "--help", cwd=project)
    assert "demo" in script


@pytest.mark.usefixtures("mongod")
def test_a_users_server_is_judged_and_tried_by_hand(python: Path, project: Path) -> None:
    shutil.copy(ROOT / "tests" / "e2e" / "harness" / "listener.py", project)
    script = python.with_name("crypto-updates")
    judged = run(script, "check-server", "--only", "restart", "--json", "--", python, "listener.py", cwd=project)
    assert [item["result"] for item in json.loads(judged)["items"]] == ["holds"]
    assert run(script, "harness", "--exec", f"'{script}' publish", cwd=project).startswith(
        "Published on crypto.updates"
    )


@pytest.mark.usefixtures("mongod")
def test_the_demo_runs(python: Path, project: Path) -> None:
    environ = clean({"HTTP_PORT": str(ports.free()), "HEALTH_PORT": str(ports.free())})
    demo = Process([str(python), "-m", "crypto_updates", "demo"], env=environ, cwd=project)
    try:
        demo.wait_for_line(re.compile("Ready after"), 120)
        demo.wait_for_line("[EVENT] Stored", 60)
        # There is no Makefile.
        assert demo.wait_for_line("To check it: ").endswith(" MARKET_SOURCE=simulated crypto-updates verify")
    finally:
        assert demo.stop(30) == 0
