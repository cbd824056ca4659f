"""The manifests as a test asks for them."""

import shlex
import tempfile
from pathlib import Path

import typer
import yaml

from collector.config import load_options
from collector.options import Options
from inferometer.cli import application
from tests.deploy.kustomize import Resource, render

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
COMPONENTS = tuple(sorted(path.name for path in (KUBERNETES / "components").iterdir()))


def kustomization(folder: Path, *components: str) -> Path:
    """Write the kustomization of somebody who wants these components."""
    # Kustomize takes relative paths only, and none through a link.
    up = Path(*[".."] * len(folder.resolve().parts[1:]), *KUBERNETES.resolve().parts[1:])
    content = {"resources": [f"{up}/base"], "components": [f"{up}/components/{name}" for name in components]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content))
    return folder


def with_components(*components: str) -> list[Resource]:
    """The base with components, rendered."""
    with tempfile.TemporaryDirectory() as folder:
        return render(kustomization(Path(folder), *components))


def pod(resources: list[Resource]) -> Resource:
    """The pod of the only deployment."""
    (deployment,) = [resource for resource in resources if resource["kind"] == "Deployment"]
    spec: Resource = deployment["spec"]["template"]["spec"]
    return spec


def collector(resources: list[Resource]) -> Resource:
    """The sidecar."""
    (container,) = pod(resources)["initContainers"]
    found: Resource = container
    return found


def environment(container: Resource) -> dict[str, str]:
    """What a container's manifest puts into its environment."""
    return {entry["name"]: entry["value"] for entry in container["env"]}


def options(arguments: list[str], environ: dict[str, str]) -> Options:
    """What ``inferometer collect`` makes of arguments and an environment; raises what it would refuse them with."""
    collect = getattr(typer.main.get_command(application()), "commands")["collect"]  # noqa: B009 - of a group only
    return load_options(collect.make_context("collect", list(arguments)).params, environ, None)


def shell_arguments(script: str) -> list[str]:
    """What follows ``exec inferometer collect`` in a script, with the time of the start as the word NOW."""
    words = shlex.split(script.replace("$(date -u +%Y%m%dT%H%M%SZ)", "NOW"))
    assert words[:3] == ["exec", "inferometer", "collect"]
    return words[3:]
