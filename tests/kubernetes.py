"""deploy/kubernetes as `kubectl apply` would send it."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests import machine
from tests.support import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
# Which part of a resource is a pod's template.
TEMPLATES = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "Job": ("spec", "template"),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
Resource = dict[str, Any]


def built(folder: Path = FOLDER) -> list[Resource]:
    """What kustomize makes of a folder."""
    done = subprocess.run(
        [machine.kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def scaled(folder: Path) -> list[Resource]:
    """With the autoscaler, in this empty folder of one's own that has ours as its base."""
    base = os.path.relpath(FOLDER, folder.resolve())
    text = json.dumps({"resources": [base], "components": [f"{base}/autoscaler"]})
    (folder / "kustomization.yaml").write_text(text, encoding="utf-8")
    return built(folder)


def values(name: str) -> Resource:
    """A file that is not kustomize's: values for a Helm chart, or what a Prometheus is given."""
    text = (FOLDER / name).read_text(encoding="utf-8")
    found: Resource = yaml.safe_load(text)
    return found


def name_of(resource: Resource) -> str:
    return f"{resource['kind']} {resource['metadata']['name']}"


def of_kind(resources: list[Resource], *kinds: str) -> dict[str, Resource]:
    return {part["metadata"]["name"]: part for part in resources if part["kind"] in kinds}


def pods(resources: list[Resource]) -> Iterator[tuple[str, Resource]]:
    """The template of each pod that we write ourselves, with the name of its resource."""
    for resource in resources:
        if path := TEMPLATES.get(resource["kind"]):
            template = resource
            for key in path:
                template = template[key]
            yield resource["metadata"]["name"], template
