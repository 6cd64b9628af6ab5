"""`python -m tests.contract` writes the contract's documents into docs/."""

import json
from typing import Any

import yaml

from crypto_updates.contract import asyncapi, json_schema
from tests.support import ROOT

DOCS = ROOT / "docs"


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - each place has its own copy
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def as_yaml(document: dict[str, Any]) -> str:
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=200)


def texts() -> dict[str, str]:
    """What each of the files says."""
    return {
        "event.schema.json": json.dumps(json_schema.document(), indent=2) + "\n",
        "asyncapi.yaml": as_yaml(asyncapi.document()),
    }


if __name__ == "__main__":
    for name, text in texts().items():
        (DOCS / name).write_text(text, encoding="utf-8")
