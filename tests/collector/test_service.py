"""The collector as a process: started by its command, scraped over HTTP, ended by signals."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from collector.options import Options
from collector.service import Service
from collector.store import RunReader
from tests.collector.servers import Answer, Server, answering, by_path

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
def collecting(*arguments: str, sources: str = "--sources=host") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A collector at work, and where it answers; it is ended where a test waits in vain for what it says."""
    command = [str(INFEROMETER), "collect", "--listen", "127.0.0.1:0", *filter(None, [sources]), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        patience = threading.Timer(PATIENCE_S, process.kill)
        patience.start()
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            url = next((line.split()[1] for line in lines if line.startswith("metrics: ")), None)
            assert url, f"it ended with {process.wait()}"
            yield process, url.removesuffix("/metrics")
        finally:
            patience.cancel()
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


@pytest.mark.parametrize("mistake", ["--sources nvnl", "--keep-for 5s", "--endpoint 127.0.0.1:8000", "--compat zabbix"])
def test_a_mistake_at_the_start_is_one_sentence_and_nothing_is_written(tmp_path: Path, mistake: str) -> None:
    command = [str(INFEROMETER), "collect", "--listen", "127.0.0.1:0", "--run", str(tmp_path / "run"), *mistake.split()]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert mistake.split()[1] in result.stderr or "shortest is 10m" in result.stderr
    assert not (tmp_path / "run").exists()


def said(process: subprocess.Popen[str], words: str) -> str:
    """The next sentence that holds these words."""
    assert process.stderr is not None
    line = next((line for line in iter(process.stderr.readline, "") if words in line), None)
    assert line is not None, f"it ended with {process.wait()} and never said {words!r}"
    return line


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ('interval = "never"', "is no duration"),
        ('sources = ["nvnl"]', "no source is called nvnl"),
        ("interval = [", "is not TOML"),
        ("keep_size = 5", "the smallest is 100MB"),
        ('endpoint = "127.0.0.1:8000"', "is not an address"),
    ],
)
def test_a_mistake_in_the_file_that_sighup_reads_changes_nothing(tmp_path: Path, mistake: str, words: str) -> None:
    file = tmp_path / "collector.toml"
    file.write_text('sources = ["host"]\n')
    with collecting("--config", str(file), sources="") as (process, url):
        until(lambda: scrape(url))
        file.write_text(mistake)
        process.send_signal(signal.SIGHUP)
        complaint = said(process, "kept the options")
        before = until(lambda: scrape(url))["inferometer_collector_cpu_seconds_total"]
        until(lambda: ((found := scrape(url)) and found["inferometer_collector_cpu_seconds_total"] > before) or None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    assert words in complaint


def test_what_sighup_changes_and_what_needs_a_restart(tmp_path: Path) -> None:
    file, run = tmp_path / "collector.toml", tmp_path / "run"
    file.write_text(f'run = "{run}"\n')
    with collecting("--config", str(file)) as (process, url):
        until(lambda: scrape(url))
        file.write_text(f'run = "{tmp_path / "other"}"\nlisten = "127.0.0.1:1"\nsources = ["host"]\nkeep_for = "1h"\n')
        process.send_signal(signal.SIGHUP)
        # The address was given as a flag, which the file does not outrank.
        assert f"run stays {run}: only a restart changes it" in said(process, "only a restart")
        said(process, "using the options as they are now")
        until(lambda: httpx.get(f"{url}/readyz", trust_env=False).status_code == 200 or None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    with RunReader.open(run) as reader:
        assert not reader.live
    assert not (tmp_path / "other").exists()


def test_sighup_also_changes_the_names_that_are_exported_and_what_is_kept(tmp_path: Path) -> None:
    told: list[str] = []
    before = Options(sources=("host",), run=tmp_path / "run")
    after = replace(before, compat="dcgm", keep_for_s=7200.0, endpoint="http://127.0.0.1:9")
    service = Service(before, told.append, read_options=lambda: after)
    service._recorder = service._record()
    assert service._recorder is not None
    sampler = service._sampler_for(before)
    service._begin(sampler)
    try:
        sampler = service._reread(sampler)
    finally:
        sampler.stop()
        service._recorder.close()

    assert service._exposition.compat_dcgm
    assert service._recorder.options.keep_for_s == 7200.0
    assert service._identifier.options.endpoint == "http://127.0.0.1:9"
    assert told[-1] == "using the options as they are now"


def test_a_server_that_comes_later_and_then_another_one_are_told_apart_in_the_run(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    page = (Path(__file__).parent / "data" / "vllm_0_23.prom").read_text()
    run = tmp_path / "run"

    def version() -> str | None:
        with RunReader.open(run) as reader:
            return reader.run.engine.version if reader.run.engine else None

    def says(text: str, said: str) -> Answer:
        return by_path({"/metrics": answering(text), "/version": answering(f'{{"version": "{said}"}}')})

    arguments = ("--endpoint", f"http://127.0.0.1:{port}", "--interval", "100ms", "--run", str(run))
    with collecting(*arguments, sources="--sources=serving") as (process, url):
        until(lambda: scrape(url))
        assert version() is None
        server = Server(says(page, "0.23.1"), port)
        try:
            until(lambda: version() == "0.23.1" or None)
            # The counters of another process begin anew.
            server.answer = says(re.sub(r"(?m)^(vllm:.*_total\S*) .*$", r"\1 0.0", page), "0.24.0")
            until(lambda: version() == "0.24.0" or None)
        finally:
            server.stop()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    with RunReader.open(run) as reader:
        assert reader.run.engine is not None
        assert reader.run.engine.model == "ref"
        first, second = (event for event in reader.events("engine"))
    assert (first.name, first.detail["version"]) == ("vllm", "0.23.1")
    assert second.detail["changed"] == "version 0.23.1 → 0.24.0"


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


def test_none_of_its_threads_interrupts_another_process_when_it_wakes_up() -> None:
    with collecting() as (process, url):
        until(lambda: scrape(url))
        threads = [int(folder.name) for folder in Path(f"/proc/{process.pid}/task").iterdir()]

        assert len(threads) > 2
        assert {os.SCHED_BATCH} == {os.sched_getscheduler(thread) for thread in threads}
