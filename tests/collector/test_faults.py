"""Each row of docs/faults.md has its test; those of faults that reach from a source or a disk to both ends are here."""

import ast
import queue
import random
import re
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from collector import _endpoint, _pages
from collector.exposition import Exposition
from collector.options import Options
from collector.recorder import Recorder
from collector.sampler import Sampler
from collector.schema import Run, Sample
from collector.sources import Unavailable, serving
from collector.store import Record, RunReader
from tests.collector.clocks import EPOCH_NS, FakeClock
from tests.collector.servers import Answer, Server, answering, hanging
from tests.collector.test_service import PATIENCE_S, collecting, scrape, until
from tests.collector.test_serving import FAULTS, PAGE

ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------------------------------------------- the table


def rows_of_the_table() -> list[list[str]]:
    lines = (ROOT / "docs" / "faults.md").read_text("utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return cells[2:]


def test_every_row_of_the_fault_table_is_whole_and_names_tests_that_exist() -> None:
    rows = rows_of_the_table()

    assert len(rows) >= 20
    assert len({row[0] for row in rows}) == len(rows)
    for row in rows:
        assert len(row) == 6
        assert all(row), row[0]
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row[5])
        assert named, row[0]
        for file, test in named:
            tree = ast.parse((ROOT / "tests" / "collector" / file).read_text("utf-8"))
            assert test in {each.name for each in tree.body if isinstance(each, ast.FunctionDef)}, (row[0], test)


# ------------------------------------------------------------------------------------ sources, at both ends


class Power:
    """A source that is always well, beside one that is not."""

    interval_s = 1.0

    def read(self, t_ns: int) -> Iterable[Sample]:
        return [Sample(t_ns=t_ns, source="nvml", subject="gpu:0", values={"power_watts": 700.0})]

    def close(self) -> None:
        """Nothing is held open."""


class Host(Power):
    """A source that fails as it is told to."""

    error: Exception | None = None

    def read(self, t_ns: int) -> Iterable[Sample]:
        if self.error is not None:
            raise self.error
        return [Sample(t_ns=t_ns, source="host", subject="host", values={"host_memory_available_bytes": 8.0})]


class Bench:
    """A whole collector but for its threads, on a clock that only moves when told to."""

    def __init__(self, folder: Path, options: Options, **sources: Callable[[Options], object]) -> None:
        self.time = FakeClock()
        clock = self.time.clock
        self.exposition = Exposition(clock=clock)
        self.recorder = Recorder(folder, Run(run_id="x", started_ns=EPOCH_NS), options, clock, lambda _: (1, 1))
        plugins = {"nvml": lambda _: Power(), **sources}
        self.sampler = Sampler({name: _plugin(open_) for name, open_ in plugins.items()}, options, take=self._take,
                               lost_records=lambda: self.recorder.lost_records, clock=clock)  # fmt: skip
        self.exposition.health = {name: runner.health for name, runner in self.sampler.runners.items()}
        self.registry = CollectorRegistry()
        self.registry.register(self.exposition)

    def _take(self, records: list[Record]) -> None:
        self.exposition.observe(records)
        self.recorder.record(records)

    def seconds(self, number: int, *hung: str) -> None:
        """Let time pass; sources that hang are not read."""
        for _ in range(number):
            for name, runner in self.sampler.runners.items():
                if name not in hung:
                    self.sampler._queue.put(runner.read())
            self.sampler.step()
            self.time.move(1.0)

    def close(self) -> None:
        for runner in self.sampler.runners.values():
            runner._close()
        self.recorder.close(self.time.clock.now_ns())

    def shown(self) -> set[str]:
        """Metrics that are exported now."""
        page = generate_latest(self.registry).decode()
        return {sample.name for family in text_string_to_metric_families(page) for sample in family.samples}


def _plugin(open_source: Callable[[Options], object]) -> ModuleType:
    module = ModuleType("plugin")
    module.open_source = open_source  # type: ignore[attr-defined]
    return module


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(_pages, "PLACES", _pages.PLACES[:3])
    monkeypatch.setattr(_endpoint, "TOTAL_S", 60.0)
    server = Server(answering(PAGE))
    yield server
    server.stop()


@pytest.mark.parametrize("name", [*FAULTS, "hangs"])
def test_an_endpoint_that_fails_leaves_all_else_alone_and_nothing_is_invented(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    # GIVEN two good readings, two of the fault, and two good ones; so rare that each is of a whole page
    bench = Bench(tmp_path / "run", Options(endpoint=server.url, interval_s=40.0), serving=serving.open_source)
    bench.seconds(2)
    assert {"inferometer_power_watts", "inferometer_requests_running"} <= bench.shown()
    good, fault = server.answer, hanging if name == "hangs" else FAULTS[name][0]
    with monkeypatch.context() as patched:
        if name == "hangs":
            patched.setattr(_endpoint, "TOTAL_S", 0.1)
        _answer(server, fault)
        bench.seconds(2)
    shown = bench.shown()
    _answer(server, good)
    bench.seconds(2)
    bench.close()

    assert "inferometer_power_watts" in shown
    assert "inferometer_requests_running" not in shown
    assert "inferometer_requests_running" in bench.shown()
    with RunReader.open(tmp_path / "run") as reader:
        assert 6 == len(reader.samples("nvml").rows)
        running = [row[-1] for row in reader.samples("serving", quantities=["requests_running"]).rows]
        assert running == [256.0, 256.0, None, None, 256.0, 256.0]
        kinds = [event.kind for event in reader.events() if event.kind.startswith("endpoint")]
        assert kinds == ["endpoint_down", "endpoint_up"]
        (down,) = reader.events("endpoint_down")
        assert any(absence.reason == down.detail["reason"] for absence in reader.absences())


def _answer(server: Server, answer: Answer) -> None:
    server.answer = answer


@pytest.mark.parametrize(
    "error",
    [ValueError("nonsense"), OSError(5, "Input/output error"), MemoryError(), Unavailable("it is lost")],
    ids=repr,
)
def test_a_source_that_fails_leaves_all_else_alone_and_nothing_is_invented(tmp_path: Path, error: Exception) -> None:
    host = Host()
    bench = Bench(tmp_path / "run", Options(), host=lambda _: host)
    bench.seconds(2)
    assert "inferometer_host_memory_available_bytes" in bench.shown()
    host.error = error
    bench.seconds(20)
    shown = bench.shown()
    host.error = None
    # One that is not there is asked again after half a minute.
    bench.seconds(30)
    bench.close()

    assert "inferometer_power_watts" in shown
    assert "inferometer_host_memory_available_bytes" not in shown
    assert "inferometer_host_memory_available_bytes" in bench.shown()
    with RunReader.open(tmp_path / "run") as reader:
        assert 52 == len(reader.samples("nvml").rows)
        times = [(row[0] - EPOCH_NS) / 1e9 for row in reader.samples("host").rows]
        assert not [t_s for t_s in times if 102 <= t_s < 122]
        (down,) = (event for event in reader.events("source_down") if event.name == "host")
        assert down.detail["reason"]
        assert 2 == sum(event.name == "host" for event in reader.events("source_up"))


def test_a_source_that_hangs_leaves_all_else_alone_and_its_values_go_stale(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "run", Options(), host=lambda _: Host())
    bench.seconds(2)
    health = bench.sampler.runners["host"].health
    health.began = bench.time.elapsed_s
    bench.seconds(20, "host")
    shown = bench.shown()
    health.began = None
    bench.seconds(1)
    bench.close()

    assert "inferometer_power_watts" in shown
    assert "inferometer_host_memory_available_bytes" not in shown
    assert "inferometer_host_memory_available_bytes" in bench.shown()
    with RunReader.open(tmp_path / "run") as reader:
        assert 23 == len(reader.samples("nvml").rows)
        assert [100, 101, 122] == [(row[0] - EPOCH_NS) / 1e9 for row in reader.samples("host").rows]
        assert ["host"] == [event.name for event in reader.events("source_hangs")]


@pytest.mark.parametrize("offset_s", [3600.0, -3600.0, 40 * 365.25 * 86400, -67 * 365.25 * 86400])
def test_a_clock_that_jumps_loses_no_second_but_those_before_1970(tmp_path: Path, offset_s: float) -> None:
    bench = Bench(tmp_path / "run", Options(keep_for_s=7200.0))
    bench.seconds(3)
    bench.time.wall_offset_s = offset_s
    bench.seconds(3)
    shown = bench.shown()
    bench.time.wall_offset_s = 0.0
    bench.seconds(3)
    bench.close()
    lost = 3 if EPOCH_NS / 1e9 + offset_s < 0 else 0

    assert "inferometer_power_watts" in shown
    with RunReader.open(tmp_path / "run") as reader:
        assert 9 - lost == len(reader.samples("nvml").rows)
        steps = sorted(float(event.detail["step_s"] or 0) for event in reader.events("clock_jump"))
        assert steps == pytest.approx([-abs(offset_s), abs(offset_s)])
        assert bool(lost) == bool(reader.events("gap"))
        assert not reader.events("retention")


def test_a_clock_that_is_set_back_keeps_nothing_stale_on_show(tmp_path: Path) -> None:
    # GIVEN a source that ends as the clock is set back by an hour
    host = Host()
    bench = Bench(tmp_path / "run", Options(), host=lambda _: host)
    bench.seconds(2)
    host.error = Unavailable("it ended")
    bench.time.wall_offset_s = -3600.0
    bench.seconds(1)
    shown = bench.shown()
    bench.close()

    assert "inferometer_power_watts" in shown
    assert "inferometer_host_memory_available_bytes" not in shown


# ------------------------------------------------------------------------------------- the process and its disk


def readings(url: str) -> float | None:
    """How often the host had been read, as ``/metrics`` says; None until it does."""
    page = httpx.get(f"{url}/metrics", trust_env=False).text
    found = re.search(r'^inferometer_source_readings_total{source="host"} (\S+)', page, re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_kill_9_at_any_moment_loses_the_last_second_at_most(tmp_path: Path, steps: int) -> None:
    # GIVEN what /metrics said, second by second, until a moment that nobody chose
    said: list[float] = []
    with collecting("--run", str(tmp_path / "run"), "--interval", "100ms") as (process, url):

        def steps_seen() -> bool | None:
            found = readings(url)
            if found is not None and found not in said:
                said.append(found)
            return len(said) > steps or None

        until(steps_seen)
        with pytest.raises(queue.Empty):
            queue.Queue[None]().get(timeout=random.random())
        process.kill()
        process.wait(PATIENCE_S)

    # THEN all of it but the last second is in the folder
    with RunReader.open(tmp_path / "run") as reader:
        rows = reader.samples("collector", quantities=["source_readings_total"]).rows
        kept = [count for _, subject, count in rows if subject == "source:host"]
        assert set(said[:-1]) <= set(kept)
        instants = {row[0] for row in reader.samples("host").rows}
        assert len(instants) >= max(kept)
        assert reader.live
    assert _whole(tmp_path / "run")


def test_a_disk_that_refuses_for_a_while_stops_neither_metrics_nor_the_run(tmp_path: Path) -> None:
    # The kernel refuses every write of this process past its first byte, as a full disk does; no root is needed.
    def limit(pid: int, size: int) -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def recorded() -> bool | None:
        with RunReader.open(tmp_path / "run") as reader:
            return bool(reader.samples("host").rows) or None

    def ready(url: str) -> bool:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200

    with collecting("--run", str(tmp_path / "run"), "--interval", "100ms") as (process, url):
        until(recorded)
        limit(process.pid, 1)
        until(lambda: not ready(url) or None)
        assert "cannot be written" in httpx.get(f"{url}/readyz", trust_env=False).text
        before = until(lambda: readings(url))
        until(lambda: (readings(url) or 0) > before or None)
        assert recorded()
        limit(process.pid, resource.RLIM_INFINITY)
        until(lambda: ready(url) or None)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    # THEN nothing was lost, and the gap says how long nothing was committed
    with RunReader.open(tmp_path / "run") as reader:
        assert not reader.live
        gaps = reader.events("gap")
        assert [(gap.name, gap.detail["lost_records"]) for gap in gaps] == [("store", 0)]
        rows = reader.samples("collector", quantities=["source_readings_total"]).rows
        counts = [count for _, subject, count in rows if subject == "source:host"]
        assert len({row[0] for row in reader.samples("host").rows}) >= max(counts)
    assert _whole(tmp_path / "run")


def test_a_folder_deleted_under_a_collector_is_made_anew(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def identity() -> str | None:
        if not (run / "run.json").is_file():
            return None
        with RunReader.open(run) as reader:
            return reader.run.run_id if reader.events("gap") or not gone else None

    gone = False
    with collecting("--run", str(run)) as (process, url):
        first = until(identity)
        until(lambda: scrape(url))
        run.rename(tmp_path / "trash")
        gone = True
        second = until(identity)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0

    assert first != second
    with RunReader.open(run) as reader:
        assert not reader.live
    assert _whole(run)
    assert _whole(tmp_path / "trash")


def _whole(run: Path) -> bool:
    """Whether SQLite finds nothing wrong with a run's database."""
    database = sqlite3.connect(run / "samples.sqlite")
    (answer,) = database.execute("PRAGMA integrity_check").fetchone()
    database.close()
    return bool(answer == "ok")
