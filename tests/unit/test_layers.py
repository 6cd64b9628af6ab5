"""The layers of the house, read from the imports: each arrow points down, and each library has its place."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support import ROOT

BELOW = {
    "crypto_updates": set[str](),
    "worker": {"crypto_updates"},
    "api_stub": {"crypto_updates"},
    "stack": {"crypto_updates", "worker", "api_stub"},
    "nats": set[str](),
}
MONGO = (
    "api_stub/mongo.py",
    "api_stub/store.py",
    "api_stub/reader.py",
    "api_stub/indexes.py",
    "api_stub/retention.py",
    "stack/setup/",
    "crypto_updates/local/",
    "crypto_updates/harness/",
)
# Who may import a library that reaches a server; `verify` asks the API's /readyz, the demo waits for it, and the
# harness asks nats-server and the server under test.
PLACES = {
    "nats": ("crypto_updates/bus/",),
    "pymongo": MONGO,
    "bson": (*MONGO, "api_stub/codec.py", "api_stub/document.py", "api_stub/query.py"),
    "httpx": ("worker/market/", "stack/check/checks.py"),
    "http.client": ("stack/services.py", "stack/control.py", "crypto_updates/harness/"),
    "urllib.request": (),
    "opentelemetry": ("crypto_updates/bus/otel.py",),
    "requests": (),
    "aiohttp": (),
}
FILES = sorted(path.relative_to(ROOT) for part in BELOW for path in (ROOT / part).rglob("*.py"))


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, wherever in it. `from package import name` may import package.name."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: write the whole name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module: str) -> str:
    """A service is one room. The library and the stack have one in each folder, and each file beside those is one."""
    part, *rest = module.split(".")
    return ".".join([part, *rest[:1]]) if part in ("crypto_updates", "stack") else part


@pytest.mark.parametrize("part", BELOW)
def test_a_part_imports_only_what_is_below_it(part: str) -> None:
    others = {*BELOW, "tests"} - {"nats", part} - BELOW[part]
    files = [file for file in FILES if file.parts[0] == part]
    assert files
    assert [(str(file), name) for file in files for name in imports(file) if name.split(".")[0] in others] == []


@pytest.mark.parametrize("library", PLACES)
def test_a_library_is_imported_only_in_its_place(library: str) -> None:
    users = {str(file) for file in FILES for name in imports(file) if f"{name}.".startswith(f"{library}.")}
    assert [user for user in sorted(users) if not user.startswith(PLACES[library])] == []


def test_no_modules_of_the_worker_import_each_other() -> None:
    files = {".".join(file.with_suffix("").parts).removesuffix(".__init__"): file for file in FILES}
    graph: dict[str, set[str]] = {}
    for own in (module for module in files if module.startswith("worker.")):
        found = {name if name in files else name.rpartition(".")[0] for name in imports(files[own])}
        graph[own] = found & files.keys()
    TopologicalSorter(graph).prepare()


def test_no_rooms_import_each_other() -> None:
    graph: dict[str, set[str]] = {}
    for file in FILES:
        own = room(".".join(file.with_suffix("").parts))
        ours = {room(name) for name in imports(file) if name.split(".")[0] in {*BELOW} - {"nats"}}
        graph.setdefault(own, set()).update(ours - {own})
    TopologicalSorter(graph).prepare()  # a CycleError names the circle
