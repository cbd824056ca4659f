"""The image as it would run, without a container: its pinned packages, an unprivileged user, and a read-only root."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import inferometer
from collector.store import RunReader
from tests.deploy import dockerfile
from tests.deploy.manifests import ROOT, collector, environment, pod, with_components

INSIDE = Path(__file__).with_name("inside.py")
PAGE = ROOT / "tests" / "collector" / "data" / "vllm_0_23.prom"
#: What a base image brings, and what a kernel shows in a container.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/sys")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The environment that the Dockerfile builds."""
    return dockerfile.build(tmp_path_factory.mktemp("image"))


def sandbox(image: Path, runs: Path, *command: str, writable: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command as the manifest would have it: its user, its environment, its mounts, and nothing else.

    It has processes, a network and users of its own; the root is read-only, and the checkout is not there.
    """
    bwrap = shutil.which("bwrap")
    assert bwrap, "bwrap comes with Debian's package bubblewrap: make test installs it where it may"
    container = collector(with_components())
    user = container["securityContext"]
    told = {**dockerfile.environment(), **environment(container), "PATH": f"{image / 'bin'}:/usr/bin:/bin"}
    # The interpreter may be one that lies elsewhere than Debian's.
    seen = [*filter(lambda path: Path(path).exists(), SYSTEM), sys.base_prefix, str(image), str(INSIDE), str(PAGE)]
    mounts = [option for path in dict.fromkeys(seen) for option in ("--ro-bind", path, path)]
    done = subprocess.run(
        [
            *(bwrap, "--unshare-all", "--die-with-parent", "--new-session", "--clearenv", "--cap-drop", "ALL"),
            *("--uid", str(user["runAsUser"]), "--gid", str(user["runAsGroup"])),
            *("--tmpfs", "/tmp", *mounts, "--proc", "/proc", "--dev", "/dev"),
            *("--bind" if writable else "--ro-bind", str(runs), "/runs", "--remount-ro", "/", "--chdir", "/runs"),
            *(option for name, value in told.items() for option in ("--setenv", name, value)),
            *command,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr.startswith("bwrap:"), done.stderr
    return done


def starting() -> list[str]:
    """How the manifest starts the collector."""
    container = collector(with_components())
    command: list[str] = [*container["command"], *container["args"]]
    return command


def test_the_pinned_packages_are_all_that_the_collector_needs(image: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--python", str(image / "bin" / "python"), "--disable-pip-version-check"]

    checked = subprocess.run([*pip, "check"], capture_output=True, text=True, check=False)
    listed = subprocess.run([*pip, "list", "--format", "json"], capture_output=True, text=True, check=True)

    assert (0, "No broken requirements found.") == (checked.returncode, checked.stdout.strip())
    names = {entry["name"] for entry in json.loads(listed.stdout)}
    assert {"inferometer", "msgspec", "nvidia-ml-py", "prometheus_client"} <= names
    assert not names & {"pip", "numpy", "pandas", "plotly", "dash", "hatchling"}


def test_the_collector_runs_unprivileged_on_a_read_only_root(image: Path, tmp_path: Path) -> None:
    container = collector(with_components("gate"))
    (port,) = [port["containerPort"] for port in container["ports"]]
    (server_port,) = [port["containerPort"] for port in pod(with_components())["containers"][0]["ports"]]
    told = {
        "page": str(PAGE),
        "server_port": server_port,
        "command": starting(),
        "url": f"http://127.0.0.1:{port}",
        "healthcheck": dockerfile.healthcheck(),
        "wanted": ["inferometer_requests_running", 'role="api_server"'],
        "paths": ["/", "/usr", str(image), "/runs", "/tmp"],
        # A container that starts again finds the run folder of the one before.
        "starts": 2,
    }

    done = sandbox(image, tmp_path, str(image / "bin" / "python"), str(INSIDE), json.dumps(told))

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert (seen["uid"], seen["no_new_privileges"]) == (str(container["securityContext"]["runAsUser"]), "1")
    assert {int(capabilities, 16) for capabilities in seen["capabilities"]} == {0}
    read_only = "Read-only file system"
    assert seen["writes"] == {
        "/": read_only,
        "/usr": read_only,
        str(image): read_only,
        "/runs": "written",
        "/tmp": "written",
    }
    probes = [container[key]["httpGet"]["path"] for key in ("livenessProbe", "readinessProbe")]
    for start in seen["starts"]:
        assert {"/metrics": 200, **dict.fromkeys(probes, 200)} == start["statuses"], start["said"]
        assert (start["missing"], start["healthcheck"], start["code"]) == ([], 0, 0)
        assert "Traceback" not in start["said"]
    runs = sorted(tmp_path.iterdir())
    assert len(runs) == len(seen["starts"])
    for run in runs:
        with RunReader.open(run) as reader:
            assert not reader.live
            assert {"host", "processes", "serving"} <= set(reader.sources())


def test_what_runs_is_the_wheel_of_this_checkout(image: Path, tmp_path: Path) -> None:
    script = "import collector, inferometer, sys; print(inferometer.__version__, collector.__file__, sys.prefix)"

    done = sandbox(image, tmp_path, str(image / "bin" / "python"), "-c", script)

    version, file, prefix = done.stdout.split()
    assert (version, prefix) == (inferometer.__version__, str(image))
    assert Path(file).is_relative_to(image)


def test_a_folder_that_may_not_be_written_is_one_sentence(image: Path, tmp_path: Path) -> None:
    done = sandbox(image, tmp_path, *starting(), writable=False)

    assert (2, "") == (done.returncode, done.stdout)
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("inferometer: /runs/")
    assert "Read-only file system" in done.stderr
