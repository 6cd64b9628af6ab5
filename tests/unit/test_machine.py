"""What the machine lacks is told, and skips a test, but not in the gate."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crypto_updates.local import binaries
from crypto_updates.local.errors import BinaryError
from crypto_updates.local.process import Process
from tests import machine, node
from tests.machine import LackError, Need

ENDS_WITH_7 = "process.on('SIGTERM', () => process.exit(7)); console.log('ready'); setInterval(() => {}, 1000)"


@pytest.mark.parametrize("error", [LackError(Need.CHROMIUM, "none"), BinaryError("mongod: libcurl.so.4")])
def test_a_lack_skips_a_test_and_fails_it_in_the_gate(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=str(error).split(maxsplit=1)[0]):
        machine.skip(error)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(type(error)):
        machine.skip(error)


def test_the_gate_runs_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.skip.Exception, match="needs a Docker engine"):
        machine.skip(LackError(Need.ENGINE, "docker info: refused"))


def test_each_lack_is_told_with_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    for find, way in [(machine.engine, "https://"), (machine.chromium, "apt-get"), (machine.disks, "e2fsprogs")]:
        with pytest.raises(LackError, match=way):
            find()
    loader = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    assert "apt-get install libcurl4" in str(binaries.failure("mongod", 127, loader))


def test_the_wheels_node_gets_the_signals_itself_and_npm_runs_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    system = [folder for folder in ("/usr/bin", "/bin") if not Path(folder, "node").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), *system]))
    environ = os.environ | node.path()
    server = Process(["node", "-e", ENDS_WITH_7], env=environ)
    server.wait_for_line("ready")
    assert server.stop() == 7
    npm = subprocess.run(["npm", "--version"], env=environ, capture_output=True, text=True, check=True, timeout=60)
    assert npm.stdout[0].isdecimal()
