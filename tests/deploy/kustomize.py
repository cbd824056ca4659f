"""Renders what the kustomizations of ``deploy/kubernetes`` use, and refuses all else, so that nothing goes untested.

Kustomize itself is one binary that no package of Python's or Debian's carries in a version that knows components;
where a machine has it, a test holds this against it.
"""

from pathlib import Path
from typing import Any, TypeAlias

import jsonpatch
import yaml

Resource: TypeAlias = dict[str, Any]

_KEYS = {"apiVersion", "kind", "resources", "components", "patches"}


def render(folder: Path) -> list[Resource]:
    """The resources of a kustomization, in the order in which it names them."""
    return _apply(folder, [])


def documents(file: Path) -> list[Resource]:
    """Every document of a YAML file."""
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def _apply(folder: Path, resources: list[Resource]) -> list[Resource]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text("utf-8"))
    unknown = kustomization.keys() - _KEYS
    if unknown:
        raise NotImplementedError(f"{folder}: {', '.join(sorted(unknown))}")
    for name in kustomization.get("resources", ()):
        path = folder / name
        resources = [*resources, *(render(path) if path.is_dir() else documents(path))]
    for name in kustomization.get("components", ()):
        resources = _apply(folder / name, resources)
    for patch in kustomization.get("patches", ()):
        resources = _patched(resources, patch["target"], yaml.safe_load((folder / patch["path"]).read_text("utf-8")))
    return resources


def _patched(resources: list[Resource], target: dict[str, str], operations: list[Resource]) -> list[Resource]:
    """The resources with one of them patched; a patch that meets none, or two, is a mistake."""
    (place,) = [at for at, resource in enumerate(resources) if _is(resource, target)]
    return [*resources[:place], jsonpatch.apply_patch(resources[place], operations), *resources[place + 1 :]]


def _is(resource: Resource, target: dict[str, str]) -> bool:
    return (resource["kind"], resource["metadata"]["name"]) == (target["kind"], target["name"])
