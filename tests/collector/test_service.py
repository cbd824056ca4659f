"""The collector as a process: started by its command, scraped over HTTP, ended by signals."""

import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.store import RunReader

INFEROMETER = Path(sys.executable).with_name("inferometer")
#: How long anything may take before a test gives up on it; nothing is asserted about how long it took.
PATIENCE_S = 60.0

T = TypeVar("T")


def until(attempt: Callable[[], T | None]) -> T:
    """Try again until it brings something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = attempt()
        if found is not None:
            return found
        time.sleep(0.05)
    pytest.fail("it never came")


@contextmanager
def collecting(*arguments: str, listen: str = "127.0.0.1:0") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A collector at work, and where it answers."""
    command = [str(INFEROMETER), "collect", "--listen", listen, "--sources", "host", *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            url = next((line.split()[1] for line in lines if line.startswith("metrics: ")), None)
            assert url, f"it ended with {process.wait()}"
            yield process, url.removesuffix("/metrics")
        finally:
            process.kill()


def scrape(url: str) -> dict[str, float] | None:
    """Value of each metric without labels; None until there is any."""
    page = httpx.get(f"{url}/metrics", trust_env=False).text
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return {sample.name: sample.value for sample in samples if not sample.labels} or None


def test_it_measures_records_and_ends_in_order(tmp_path: Path) -> None:
    with collecting("--run", str(tmp_path / "run")) as (process, url):
        seen = until(lambda: scrape(url))
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200 or None)
        assert httpx.get(f"{url}/healthz", trust_env=False).text == "alive\n"
        assert httpx.get(f"{url}/elsewhere", trust_env=False).status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    assert seen["inferometer_collector_cpu_seconds_total"] > 0
    with RunReader.open(tmp_path / "run") as reader:
        assert not reader.live
        assert {"collector", "host"} <= set(reader.sources())


def test_a_killed_collector_leaves_a_readable_run(tmp_path: Path) -> None:
    with collecting("--run", str(tmp_path / "run")) as (process, _):
        run = tmp_path / "run"

        def rows() -> int | None:
            with RunReader.open(run) as reader:
                return len(reader.samples("host").rows) or None

        before = until(rows)
        process.kill()
        process.wait(PATIENCE_S)

    with RunReader.open(run) as reader:
        assert reader.live
        assert len(reader.samples("host").rows) >= before


def test_it_stops_by_itself_after_its_duration(tmp_path: Path) -> None:
    with collecting("--run", str(tmp_path / "run"), "--duration", "1s") as (process, _):
        assert process.wait(PATIENCE_S) == 0


def test_what_it_recorded_can_be_analysed_and_says_what_is_missing(tmp_path: Path) -> None:
    with collecting("--run", str(tmp_path / "run"), "--duration", "2s") as (process, _):
        process.wait(PATIENCE_S)

    command = [str(INFEROMETER), "analyze", str(tmp_path / "run"), "--format", "json"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)

    assert result.returncode == 3, result.stderr
    assert "no GPU" in json.loads(result.stdout)["verdict"]["abstained"]


def test_a_port_in_use_is_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [str(INFEROMETER), "collect", "--listen", listen, "--run", str(tmp_path / "run")]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "--listen" in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_changed_file_is_read_again_on_sighup_and_a_mistake_in_it_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('interval = "1s"\n')
    with collecting("--config", str(file)) as (process, url):
        assert process.stderr is not None
        until(lambda: scrape(url))
        file.write_text('interval = "never"\n')
        process.send_signal(signal.SIGHUP)
        complaint = next(line for line in iter(process.stderr.readline, "") if "kept the options" in line)
        file.write_text('interval = "100ms"\n')
        process.send_signal(signal.SIGHUP)
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200 or None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    assert "is no duration" in complaint


def test_a_real_prometheus_scrapes_it(tmp_path: Path) -> None:
    prometheus = shutil.which("prometheus")
    assert prometheus, "prometheus is missing: make test installs it where it may"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with collecting() as (_, url):
        config = tmp_path / "prometheus.yml"
        target = url.removeprefix("http://")
        config.write_text(
            "scrape_configs:\n- job_name: inferometer\n  scrape_interval: 1s\n"
            f"  static_configs: [{{targets: ['{target}']}}]\n"
        )
        command = [prometheus, f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'data'}",
                   f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
            try:
                found = until(lambda: _query(port, 'inferometer_source_success{source="host"}'))
            finally:
                server.terminate()

    assert found == ["1"]


def _query(port: int, expression: str) -> list[str] | None:
    """Values that Prometheus has for an expression; None while it has none, or does not answer yet."""
    try:
        url = f"http://127.0.0.1:{port}/api/v1/query"
        answer = httpx.get(url, params={"query": expression}, trust_env=False).json()
    except (httpx.TransportError, ValueError):
        return None
    return [result["value"][1] for result in answer["data"]["result"]] or None
