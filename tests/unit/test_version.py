"""The version stands in one place, and the changelog follows it."""

import re
import tomllib
from pathlib import Path

from crypto_updates import __version__

ROOT = Path(__file__).parents[2]


def test_the_newest_entry_of_the_changelog_is_this_version() -> None:
    entry = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entry
    assert entry[1] == __version__


def test_an_installation_has_the_same_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "version" not in project["project"]
    assert project["tool"]["hatch"]["version"]["path"] == "crypto_updates/__init__.py"
