"""`make`, run for real with a Python in .venv that says what it was called with."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT

SCRIPT = """\
#!/bin/sh
printf '<%s>' "$@"
"""
# One that a shell would take apart, and one that make would expand.
VALUES = ("my dir", """a 'b' "c" $HOME `d` \\e;f*#""")
CHAOS = ("--seconds=600", "--workers=3", "--stubs=2", "--rate=250")


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """A .venv that make takes for complete."""
    path = tmp_path / "venv"
    program(path / "bin" / "python", SCRIPT)
    for name in (".local", ".installed", ".bench"):
        (path / name).touch()
    return path


def program(path: Path, script: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script, encoding="utf-8")
    path.chmod(0o700)


def made(venv: Path, target: str, *arguments: str, **environ: str) -> str:
    """The output of make."""
    command = ["make", "--no-print-directory", f"VENV={venv}", target, *arguments]
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(
        command, cwd=ROOT, env=plain | environ, capture_output=True, text=True, timeout=30, check=True
    )
    return done.stdout


def called(*arguments: str) -> str:
    return "".join(f"<{argument}>" for argument in ("-m", *arguments))


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize(
    ("target", "name", "before"),
    [
        ("demo", "DATA", ("stack", "demo")),
        ("demo", "FAULTS", ("stack", "demo")),
        ("audit", "SINCE", ("stack", "audit")),
        ("repair", "SINCE", ("stack", "audit", "--repair")),
        ("bench", "SCALE", ("tests.benchmarks",)),
        ("day", "DAY", ("tests.day",)),
        ("day", "SPEED", ("tests.day",)),
        ("chaos", "SEED", ("tests.chaos", *CHAOS)),
        ("chaos", "MEMBERS", ("tests.chaos", *CHAOS)),
        ("chaos", "KILLS", ("tests.chaos", *CHAOS)),
        ("chaos", "FAULT", ("tests.chaos", *CHAOS)),
        ("chaos", "REPORT", ("tests.chaos", *CHAOS)),
        ("chaos", "RATE", ("tests.chaos", *CHAOS[:-1])),
    ],
)
def test_a_value_of_the_user_is_one_argument(
    venv: Path, target: str, name: str, before: tuple[str, ...], value: str
) -> None:
    wanted = called(*before, f"--{name.lower()}={value}")
    assert made(venv, target, f"{name}={value}") == wanted
    assert made(venv, target, **{name: value}) == wanted


def test_without_a_value_there_is_no_option(venv: Path) -> None:
    assert made(venv, "demo") == called("stack", "demo")
    assert made(venv, "chaos", SEED="") == called("tests.chaos", *CHAOS)


def test_the_path_of_python_may_have_a_space(tmp_path: Path) -> None:
    venv, path, note = tmp_path / "venv", tmp_path / "my dir" / "python", tmp_path / "note"
    program(path, f"{SCRIPT.rstrip()} >>{shlex.quote(str(note))}\n")
    program(venv / "bin" / "python", "#!/bin/sh\n")
    made(venv, str(venv / ".local"), f"PYTHON={path}")
    assert note.read_text(encoding="utf-8").endswith(called("venv", str(venv)))
