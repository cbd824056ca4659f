"""``inferometer doctor``: what it prints, and what its exit code says."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from collector import doctor
from collector.checks._world import ServerPage, Tree
from collector.doctor import Report
from collector.schema import Engine
from inferometer import cli
from tests.collector.checking import DATA, NOW_NS, recorded, tree, world
from tests.collector.fake_nvml import REAL, FakeNvml
from tests.collector.servers import Answer, Server, answering, by_path
from tests.inferometer.test_base_install import bare

PAGE = (DATA / "vllm_0_23.prom").read_text()
#: The command in a process of its own, on a machine without a GPU whatever this one has; it asks the test's port alone.
WITHOUT_GPU = f"""
import sys, pynvml
from collector import _pages

_pages.PLACES = _pages.PLACES[:3]

def nvmlInit():
    raise pynvml.NVMLError({REAL.NVML_ERROR_LIBRARY_NOT_FOUND})

pynvml.nvmlInit = nvmlInit
from inferometer.cli import main
sys.exit(main(sys.argv[1:]))
"""
ROOT = Path(__file__).parents[2]


def examined(answers: dict[str, Answer], *arguments: str) -> subprocess.CompletedProcess[str]:
    """What a doctor without a GPU says of a server."""
    server = Server(by_path(answers))
    try:
        return subprocess.run(
            [sys.executable, "-c", WITHOUT_GPU, "doctor", "--endpoint", server.url, *arguments],
            check=False,
            capture_output=True,
            text=True,
            cwd=ROOT,
            env={"INFEROMETER_LISTEN": "127.0.0.1:0", "PATH": ""},
        )
    finally:
        server.stop()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the world that the command finds: a server that it can read, and GPUs."""

    def make(page: ServerPage | None = None, seen: Tree | None = None, **gpus: Any) -> None:
        found = world(
            page or recorded("vllm_0_23", "0.32.0"), seen or tree("vllm", "serve"), NOW_NS, listen="127.0.0.1:0"
        )
        monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(clock=found.clock, **gpus))
        monkeypatch.setattr(doctor, "look", lambda _: found)

    return make


def test_a_machine_without_a_gpu_says_what_a_verdict_lacks(tmp_path: Path) -> None:
    """GIVEN a server with its metrics and no GPU, THEN the exit code is 3 and only the GPU is named."""
    answers = {"/metrics": answering(PAGE), "/version": answering('{"version": "0.23.0"}')}
    done = examined(answers, "--run", str(tmp_path / "run"), "--format", "json")

    assert (3, "") == (done.returncode, done.stderr)
    report = msgspec.json.decode(done.stdout, type=Report)
    assert not report.verdict_possible
    lacking = [each for each in report.findings if each.needed_for == "verdict" and each.state == "missing"]
    assert [("gpu", "driver")] == [(each.check, each.name) for each in lacking]
    assert "there is no NVIDIA driver library" in report.summary
    assert {"engine": "vllm", "version": "0.23.0", "model": "ref"} == next(
        each.evidence for each in report.findings if each.name == "page"
    )
    assert [] == list(tmp_path.iterdir())
    running = [each for each in report.metrics if each.quantity == "requests_running"]
    assert [(256.0, None)] == [(each.value, each.reason) for each in running]


def test_the_server_is_only_read(tmp_path: Path) -> None:
    """GIVEN a server that counts what it is asked, THEN it is asked for its pages, with GET, and nothing else."""
    server = Server(by_path({"/metrics": answering(PAGE)}))
    config = tmp_path / "collector.toml"
    config.write_text(f'endpoint = "{server.url}"\nlisten = "127.0.0.1:0"\n')
    try:
        assert cli.main(["doctor", "--config", str(config), "--format", "json"]) in {0, 3}
    finally:
        server.stop()

    assert {"/metrics", "/version", "/v1/models"} >= set(server.paths)


def test_a_whole_machine_ends_in_0(here: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    here()

    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "A verdict is possible: everything that it needs is there." == lines[-1]
    assert any(line.startswith(" ✓  activity") for line in lines)
    assert max(map(len, lines)) <= 80


def test_the_worst_comes_first_with_what_would_grant_it(
    here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    here(gpus=8, gpm=False)

    assert cli.main(["doctor"]) == 3
    page = capsys.readouterr().out
    first, *rest = (line for line in page.splitlines() if line.startswith(" ✗"))
    assert page.startswith("GPUs\n ✗  activity")
    assert "activity" in first
    # Eight GPUs that lack the same are one row.
    assert not any("activity" in line for line in rest)
    assert "gpu:0, gpu:1" in page
    assert "→ DCGM profiling metrics would be needed" in page
    assert "A verdict is not possible here; it lacks gpu:0, gpu:1" in page


def test_full_lists_every_metric(here: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    here(gpm=False)

    assert cli.main(["doctor", "--full"]) == 3
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "✓ requests running 256" in lines
    assert any(line.startswith("✗ DRAM active pre-Hopper GPU") for line in lines)


def test_the_json_is_one_object_with_every_key(here: Callable[..., None], capsys: pytest.CaptureFixture[str]) -> None:
    here()

    assert cli.main(["doctor", "--format", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert ["schema_version", "verdict_possible", "summary", "findings", "metrics"] == list(report)
    assert 1 == report["schema_version"]
    keys = {"check", "name", "subject", "state", "needed_for", "reason", "remedy", "evidence"}
    assert all(keys == set(finding) for finding in report["findings"])
    assert all({"source", "subject", "quantity", "value", "reason"} == set(metric) for metric in report["metrics"])
    assert all((finding["remedy"] is None) for finding in report["findings"] if finding["state"] == "ok")


def test_nothing_that_a_server_says_reaches_the_terminal_as_it_is(
    here: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[31mred\x07\u202e[bold]" + "x" * 5000
    page = recorded("vllm_0_23")
    said = Engine(name="vllm", version=evil, model=evil, settings={"block_size": evil})
    here(
        ServerPage(text=page.text, scrape=page.scrape, plugin=page.plugin, engine=said),
        tree("vllm", f"--block-size={evil}y"),
    )

    assert cli.main(["doctor", "--full"]) == 0
    shown = capsys.readouterr().out
    assert "[bold]" in shown
    assert all(character.isprintable() or character == "\n" for character in shown)


@pytest.mark.parametrize(
    "body",
    [
        b"\x00\xff\xfe" * 1000,
        b"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{" + b"a" * 100_000 + b"} 1\n",
        b"# TYPE\n# TYPE x\nvllm:num_requests_running NaN\n# TYPE vllm:num_requests_running gauge\n",
        b'# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{a="\x1b[2J"} 1e999\n',
    ],
    ids=["binary", "long", "half", "escape"],
)
def test_a_hostile_page_is_a_finding_and_no_traceback(body: bytes) -> None:
    done = examined({"/metrics": answering(body), "/version": answering("[" * 100_000)})

    assert (3, "") == (done.returncode, done.stderr)
    assert "A verdict is not possible here" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format", "pdf"],
        ["--engine", "nonsense"],
        ["--endpoint", "nonsense"],
        ["--config", "/no/such/file.toml"],
        ["--pid", "many"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", *arguments]) == 2
    said = capsys.readouterr()

    assert ("", 1) == (said.out, len(said.err.splitlines()))


def test_help_needs_no_extra_and_the_rest_names_it() -> None:
    assert 0 == bare("doctor", "--help").returncode
    done = bare("doctor")

    assert 2 == done.returncode
    assert done.stderr.endswith("pip install 'inferometer[collector]'\n")
