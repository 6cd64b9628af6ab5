"""What the machine lacks is told, and skips a test, but not in the gate."""

from pathlib import Path

import pytest

from crypto_updates.local import binaries
from crypto_updates.local.errors import BinaryError
from tests import machine
from tests.machine import LackError, Need


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
