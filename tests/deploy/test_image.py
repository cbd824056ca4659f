import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import inferometer
from collector.config import load_options
from tests.deploy import dockerfile
from tests.deploy.dockerfile import COLLECTOR, texts
from tests.deploy.kustomize import render
from tests.deploy.manifests import COMPONENTS, KUBERNETES, ROOT, collector, options, shell_arguments, with_components

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PAGE = (ROOT / "deploy" / "README.md").read_text("utf-8")
IMAGE = f"inferometer-collector:{inferometer.__version__}"


def hadolint(file: Path) -> subprocess.CompletedProcess[str]:
    command = Path(sys.executable).with_name("hadolint")
    return subprocess.run([command, "--no-color", file], capture_output=True, text=True, check=False)


def test_the_linter_finds_nothing_to_say() -> None:
    linted = hadolint(dockerfile.FILE)

    assert (0, "") == (linted.returncode, linted.stdout + linted.stderr)


def test_the_linter_would_find_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "Dockerfile"
    file.write_text(dockerfile.FILE.read_text("utf-8").replace("USER 65532:65532", "USER root"))

    assert "DL3002" in hadolint(file).stdout


def python_version() -> str:
    (image,) = re.findall(r"PYTHON_IMAGE=python:(\d+\.\d+)-slim", texts(0, "ARG")[0])
    return str(image)


def test_the_image_has_a_python_that_the_package_names() -> None:
    assert python_version() in SpecifierSet(PROJECT["project"]["requires-python"])
    assert f"Programming Language :: Python :: {python_version()}" in PROJECT["project"]["classifiers"]


def pinned(name: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes of each package of a file of requirements."""
    text = (COLLECTOR / name).read_text("utf-8").replace("\\\n", " ")
    lines = (line.split() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    return {
        line[0].partition("==")[0]: (
            line[0].partition("==")[2],
            sum(word.startswith("--hash=sha256:") for word in line),
        )
        for line in lines
    }


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        (
            "requirements.txt",
            PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["collector"],
        ),
        ("build-requirements.txt", PROJECT["build-system"]["requires"]),
    ],
)
def test_what_the_project_asks_for_is_pinned_with_its_hashes(file: str, wanted: list[str]) -> None:
    found = pinned(file)

    for requirement in map(Requirement, wanted):
        assert found[requirement.name][0] in requirement.specifier
    assert all(hashes for _, hashes in found.values())


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_pin_has_a_wheel_for_the_image(tmp_path: Path, machine: str) -> None:
    platforms = [f"manylinux_2_17_{machine}", f"manylinux_2_28_{machine}", f"manylinux2014_{machine}"]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(tmp_path)]
    target = [
        "--only-binary",
        ":all:",
        "--python-version",
        python_version(),
        *(f"--platform={name}" for name in platforms),
    ]

    done = subprocess.run(
        [*pip, *target, "--no-deps", "--require-hashes", "--requirement", str(COLLECTOR / "requirements.txt")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    here = {name for name in pinned("requirements.txt") if name != "colorama"}
    assert len(here) == len(list(tmp_path.glob("*.whl")))


def test_the_image_is_what_the_manifest_relies_on() -> None:
    container = collector(with_components())
    context = container["securityContext"]

    assert [f"{context['runAsUser']}:{context['runAsGroup']}"] == texts(-1, "USER")
    assert [str(container["ports"][0]["containerPort"])] == texts(-1, "EXPOSE")
    assert ['["inferometer", "collect"]'] == texts(-1, "ENTRYPOINT")
    assert ["/runs"] == texts(-1, "WORKDIR")
    assert load_options({}, dockerfile.environment(), None).listen == "0.0.0.0:9464"
    assert dockerfile.environment()["NVIDIA_DRIVER_CAPABILITIES"] == "utility"


def test_what_is_copied_is_sent_to_the_build() -> None:
    rules = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    let_in = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]
    copied = [source for text in texts(1, "COPY") for source in text.split()[:-1]]

    assert "*" in rules
    assert {source for source in copied if not any(Path(source).match(rule) for rule in let_in)} == set()


def test_one_name_of_the_image_everywhere() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))

    assert collector(with_components())["image"] == IMAGE
    assert compose["services"]["collector"]["image"] == IMAGE
    assert set(re.findall(r"inferometer-collector:[\w.]+", PAGE)) == {IMAGE}


def test_the_collector_takes_the_arguments_of_compose() -> None:
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text("utf-8"))["services"]
    (script,) = services["collector"]["command"]

    told = options(shell_arguments(script.replace("$$", "$")), dockerfile.environment())

    published = {port.rpartition(":")[2] for port in services["vllm"]["ports"]}
    assert published == {str(told.endpoint).rpartition(":")[2], told.listen.rpartition(":")[2]}
    assert (services["collector"]["network_mode"], services["collector"]["pid"]) == ("service:vllm", "service:vllm")


def test_the_collector_takes_the_arguments_of_the_page() -> None:
    (line,) = re.findall(rf"{IMAGE} (--.+)$", PAGE, re.MULTILINE)

    assert options(line.split(), dockerfile.environment()).run == Path("/runs/monday")


def test_the_page_names_every_component_and_its_example_can_be_rendered(tmp_path: Path) -> None:
    table = re.findall(r"^\| `([a-z-]+)` \|", PAGE, re.MULTILINE)
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "mine").mkdir()
    (tmp_path / "kubernetes" / "mine" / "kustomization.yaml").write_text(example)

    assert sorted(table) == list(COMPONENTS)
    assert render(tmp_path / "kubernetes" / "mine")
