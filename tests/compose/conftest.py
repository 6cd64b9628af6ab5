"""The Compose project as a fixture: up for the tests of a module, and gone after them, whatever happens."""

from collections.abc import Iterator

import pytest

from tests import machine
from tests.compose.project import Project


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    machine.engine()


@pytest.fixture(scope="module")
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Up and healthy, from a clean state. The module's DOTENV, if it has one, is the text of `.env`,
    and its SECRETS returns what the folder secrets/ holds.
    """
    project = Project(tmp_path_factory.mktemp("compose"), getattr(request.module, "DOTENV", None))
    for name, text in getattr(request.module, "SECRETS", dict)().items():
        (project.folder / "secrets" / name).write_text(text, encoding="utf-8")
    project.down()
    try:
        project.up()
        yield project
    finally:
        project.down()
