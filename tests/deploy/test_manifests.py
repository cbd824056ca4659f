import copy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate import ValidationError

from collector.config import size_bytes
from collector.errors import UserError
from tests.deploy.kustomize import Resource, render
from tests.deploy.manifests import (
    COMPONENTS,
    KUBERNETES,
    collector,
    environment,
    kustomization,
    options,
    pod,
    shell_arguments,
    with_components,
)

#: The first version with native sidecars, and the last whose schema is known here.
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
#: The first version with resource.k8s.io/v1.
OLDEST_WITH_CLAIMS = "1.34"
#: Kinds that the cluster learns from somebody else.
FOREIGN = {"ServiceMonitor"}


def validate(resource: Resource, version: str) -> None:
    """Hold a resource against the schema of a Kubernetes version; a key that it does not know is a fault, too."""
    kubernetes_validate.validate(resource, version, strict=True)


def of_kind(resources: list[Resource], kind: str) -> list[Resource]:
    return [resource for resource in resources if resource["kind"] == kind]


@pytest.mark.parametrize("component", ["", *COMPONENTS])
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_takes_every_resource(component: str, version: str) -> None:
    resources = with_components(*filter(None, [component]))
    if component == "gpu-claim":
        version = max(version, OLDEST_WITH_CLAIMS)

    for resource in resources:
        if resource["kind"] not in FOREIGN:
            validate(resource, version)


def _without_selector(deployment: Resource) -> None:
    del deployment["spec"]["selector"]


def _misspelt(deployment: Resource) -> None:
    pod([deployment])["shareProcessNamespaces"] = True


def _text_for_a_number(deployment: Resource) -> None:
    collector([deployment])["ports"][0]["containerPort"] = "9464"


def _unknown_of_probe(deployment: Resource) -> None:
    collector([deployment])["livenessProbe"]["httpGet"]["url"] = "/healthz"


@pytest.mark.parametrize("spoil", [_without_selector, _misspelt, _text_for_a_number, _unknown_of_probe])
def test_a_spoilt_manifest_is_found(spoil: Callable[[Resource], None]) -> None:
    (deployment,) = of_kind(copy.deepcopy(with_components()), "Deployment")
    validate(deployment, NEWEST)
    spoil(deployment)

    with pytest.raises(ValidationError):
        validate(deployment, NEWEST)


@pytest.mark.parametrize("component", ["", *COMPONENTS])
def test_kustomize_where_there_is_one_renders_the_same(tmp_path: Path, component: str) -> None:
    folder = kustomization(tmp_path, *filter(None, [component]))
    ours = render(folder)
    commands = [["kubectl", "kustomize"], ["kustomize", "build"]]

    for command in (command for command in commands if shutil.which(command[0])):
        done = subprocess.run([*command, folder], capture_output=True, text=True, check=True)
        theirs = list(yaml.safe_load_all(done.stdout))
        assert sorted(map(yaml.safe_dump, ours)) == sorted(map(yaml.safe_dump, theirs))


def test_a_key_that_is_not_rendered_here_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n")

    with pytest.raises(NotImplementedError, match="namePrefix"):
        render(tmp_path)


def test_no_file_lies_beside_the_kustomizations() -> None:
    named = set()
    for file in KUBERNETES.rglob("kustomization.yaml"):
        content = yaml.safe_load(file.read_text("utf-8"))
        patches = [patch["path"] for patch in content.get("patches", ())]
        named |= {file, *(file.parent / name for name in [*content.get("resources", ()), *patches])}

    assert named == set(KUBERNETES.rglob("*.yaml"))


def test_the_collector_takes_the_arguments_of_the_manifest() -> None:
    container = collector(with_components())
    (script,) = container["args"]

    told = options(shell_arguments(script), environment(container))

    (port,) = [port["containerPort"] for port in pod(with_components())["containers"][0]["ports"]]
    assert told.endpoint == f"http://127.0.0.1:{port}"
    assert told.listen == f"0.0.0.0:{container['ports'][0]['containerPort']}"
    assert told.run == Path("/runs/NOW")
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/runs", "/tmp"}


def test_a_pod_is_not_evicted_for_the_recording_of_two_starts() -> None:
    resources = with_components()
    (runs,) = [volume["emptyDir"] for volume in pod(resources)["volumes"] if volume["name"] == "runs"]
    (script,) = collector(resources)["args"]

    kept_bytes = options(shell_arguments(script), {}).keep_size_bytes

    assert 0 < 2 * kept_bytes < size_bytes(f"{runs['sizeLimit']}B")


def test_the_environment_of_services_would_be_taken_for_options() -> None:
    told = {"INFEROMETER_SERVICE_HOST": "10.0.0.1", "INFEROMETER_PORT": "tcp://10.0.0.1:9464"}

    with pytest.raises(UserError, match="no option is called"):
        options([], told)
    assert pod(with_components())["enableServiceLinks"] is False


def test_probes_and_services_meet_the_ports_that_are_there() -> None:
    resources = with_components("gate")
    containers = [*pod(resources)["initContainers"], *pod(resources)["containers"]]
    numbers = {port["containerPort"] for container in containers for port in container["ports"]}

    for container in containers:
        names = {port["name"] for port in container["ports"]}
        probes = [probe for key, probe in container.items() if key.endswith("Probe")]
        assert {probe["httpGet"]["port"] for probe in probes} == names
    services = of_kind(resources, "Service")
    assert numbers == {port["targetPort"] for service in services for port in service["spec"]["ports"]}
    (deployment,) = of_kind(resources, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    assert all(service["spec"]["selector"].items() <= labels for service in services)


def test_a_collector_that_is_not_ready_leaves_the_server_in_its_service_unless_asked() -> None:
    assert "readinessProbe" not in collector(with_components())
    assert "startupProbe" not in collector(with_components())
    assert collector(with_components("gate"))["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_monitor_finds_the_service_of_the_metrics_and_no_other() -> None:
    resources = with_components("service-monitor")
    (monitor,) = of_kind(resources, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()

    (found,) = [one for one in of_kind(resources, "Service") if wanted <= one["metadata"]["labels"].items()]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in found["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


@pytest.mark.parametrize("component", ["", *COMPONENTS])
def test_the_collector_is_hemmed_in(component: str) -> None:
    context = collector(with_components(*filter(None, [component])))["securityContext"]

    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"]["drop"] == ["ALL"]
    assert ("add" in context["capabilities"]) == (context["runAsUser"] == 0) == (component == "ptrace")


def test_with_one_user_the_whole_pod_is_restricted_and_alike() -> None:
    spec = pod(with_components("same-user"))

    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    users = set()
    for container in [*spec["initContainers"], *spec["containers"]]:
        context = container["securityContext"]
        assert (context["runAsNonRoot"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        users.add((context["runAsUser"], context["runAsGroup"]))
    assert len(users) == 1


def test_nobody_asks_for_a_second_gpu() -> None:
    for component in ("", "gpu-claim"):
        spec = pod(with_components(*filter(None, [component])))
        asked = [
            container["name"]
            for container in [*spec["initContainers"], *spec["containers"]]
            if "nvidia.com/gpu" in container["resources"]["limits"]
        ]
        assert asked == ([] if component else ["vllm"])
    assert "NVIDIA_VISIBLE_DEVICES" not in environment(collector(with_components("gpu-claim")))
