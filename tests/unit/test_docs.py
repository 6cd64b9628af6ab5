"""The documents: no dead link, a short README, and every variable described."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md")
PAGES = [*(ROOT / name for name in NAMES), *sorted((ROOT / "docs").glob("*.md"))]
README_LINES = 160

FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ASSIGNED = re.compile(r"^#?([A-Z][A-Z0-9_]+)=", re.MULTILINE)


def prose(page: Path) -> str:
    """The page without its blocks of code, in which a line may look like a heading or a link."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives the headings of a page."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in HEADING.findall(prose(page)))
    return {heading.strip().replace(" ", "-") for heading in headings}


def is_dead(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    return not target.exists() or (bool(anchor) and anchor not in anchors(target))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = LINK.findall(CODE.sub("", prose(page)))
    assert [link for link in links if "://" not in link and is_dead(page, link)] == []


def test_a_link_to_a_missing_file_or_heading_is_dead() -> None:
    readme = ROOT / "README.md"
    assert is_dead(readme, "docs/missing.md")
    assert is_dead(readme, "docs/testing.md#missing")
    assert not is_dead(readme, "docs/testing.md#the-groups")


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LINES


def test_every_variable_of_the_example_is_described() -> None:
    named = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")))
    variables = ASSIGNED.findall((ROOT / ".env.example").read_text(encoding="utf-8"))
    assert variables
    assert [name for name in variables if name not in named] == []
