import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collector import store
from collector.catalogue import CATALOGUE
from collector.errors import UserError
from collector.schema import Absent, Engine, Event, Gpu, Run, Sample
from collector.store import RESOLUTIONS_S, Absence, RunReader, RunWriter
from tests.collector.builders import NS, event, histogram, request, run, sample

QUANTITIES = ("power_watts", "sm_active_ratio")


def record(path: Path, *records: store.Record, ended_ns: int | None = 100 * NS) -> Path:
    with RunWriter.create(path, run()) as writer:
        writer.add(records)
        writer.close(ended_ns)
    return path


def listing(path: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time of change."""
    return {
        str(found.relative_to(path)): (found.lstat().st_mtime_ns, found.lstat().st_size)
        for found in [path, *path.rglob("*")]
    }


# ------------------------------------------------------------------------------------------------ round trips


def test_a_run_comes_back_as_it_was_given(tmp_path: Path) -> None:
    written = Run(
        run_id="r1",
        started_ns=5,
        gpus=(Gpu(index=0, name="NVIDIA H200", memory_bytes=1, power_limit_watts=700.0),),
        engine=Engine(name="vllm", version="0.23.0", settings={"a": 1, "b": 0.5, "c": True, "d": "x"}),
        cpu_cores=16,
        provenance="a test",
    )
    with RunWriter.create(tmp_path / "new" / "run", written) as writer:
        writer.close(9)

    with RunReader.open(tmp_path / "new" / "run") as reader:
        assert replace(written, ended_ns=9) == reader.run
        assert not reader.live


def test_samples_come_back_sorted_by_time_and_subject(tmp_path: Path) -> None:
    path = record(
        tmp_path / "run",
        sample(2 * NS, {"power_watts": 2.0}, subject="gpu:1"),
        sample(2 * NS, {"power_watts": 1.0}),
        sample(1 * NS, {"sm_active_ratio": 0.5}),
    )

    with RunReader.open(path) as reader:
        table = reader.samples("nvml")

    # The catalogue's order, not the order of appearance.
    assert ("t_ns", "subject", "sm_active_ratio", "power_watts") == table.columns
    assert [
        (1 * NS, "gpu:0", 0.5, None),
        (2 * NS, "gpu:0", None, 1.0),
        (2 * NS, "gpu:1", None, 2.0),
    ] == table.rows


def test_a_source_may_learn_quantities_while_it_runs(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.add([sample(0)])
        writer.flush()
        writer.add([sample(NS, {"temperature_celsius": 60.0})])
        writer.close(2 * NS)

    with RunReader.open(tmp_path / "run") as reader:
        assert ("power_watts", "temperature_celsius") == reader.quantities("nvml")
        assert [(0, "gpu:0", 400.0, None), (NS, "gpu:0", None, 60.0)] == reader.samples("nvml").rows
        assert [
            (0, "gpu:0", 400.0, 400.0, 400.0, 1, None, None, None, 0),
            (NS, "gpu:0", None, None, None, 0, 60.0, 60.0, 60.0, 1),
        ] == reader.samples("nvml", resolution_s=1).rows


def test_only_the_quantities_asked_for_are_read(tmp_path: Path) -> None:
    path = record(tmp_path / "run", sample(0, {"power_watts": 1.0, "sm_active_ratio": 0.5}))

    with RunReader.open(path) as reader:
        picked = reader.samples("nvml", quantities=["energy_joules_total", "power_watts"])
        rolled = reader.samples("nvml", quantities=["energy_joules_total"], resolution_s=10)
        nothing = reader.samples("host", quantities=["power_watts"])

    assert ("t_ns", "subject", "energy_joules_total", "power_watts") == picked.columns
    assert [(0, "gpu:0", None, 1.0)] == picked.rows
    assert [(0, "gpu:0", None, None, None, 0)] == rolled.rows
    assert (("t_ns", "subject", "power_watts"), []) == (nothing.columns, nothing.rows)


@pytest.mark.parametrize(
    ("resolution_s", "quantities"), [(5, None), (0, ["power"]), (0, ["ttft_s"]), (0, ["power_watts; --"])]
)
def test_a_wrong_question_is_the_askers_fault(tmp_path: Path, resolution_s: int, quantities: list[str] | None) -> None:
    path = record(tmp_path / "run", sample())

    with RunReader.open(path) as reader, pytest.raises(ValueError, match="no resolution of"):
        reader.samples("nvml", resolution_s=resolution_s, quantities=quantities)


def test_spans_hold_their_start_and_not_their_end(tmp_path: Path) -> None:
    path = record(tmp_path / "run", *(sample(t * NS) for t in range(30)), *(request(t) for t in range(5)))

    with RunReader.open(path) as reader:
        seconds = [row[0] // NS for row in reader.samples("nvml", start_ns=5 * NS, end_ns=8 * NS).rows]
        tens = [row[0] // NS for row in reader.samples("nvml", resolution_s=10, start_ns=15 * NS, end_ns=21 * NS).rows]
        assert [5, 6, 7] == seconds
        assert [10, 20] == tens
        assert [1, 2] == [found.t_ns for found in reader.requests(start_ns=1, end_ns=3)]
        assert [] == reader.samples("nvml", start_ns=8 * NS, end_ns=5 * NS).rows
        assert 30 == len(reader.samples("nvml", start_ns=-5, end_ns=2**80).rows)


def test_an_absence_is_written_when_its_reason_changes(tmp_path: Path) -> None:
    driver, gone = Absent("no driver"), Absent("GPU is lost")
    values: list[float | Absent] = [driver, driver, 5.0, 6.0, gone, driver]

    path = record(tmp_path / "run", *(sample(t, {"power_watts": value}) for t, value in enumerate(values)))

    with RunReader.open(path) as reader:
        assert [None, None, 5.0, 6.0, None, None] == [row[2] for row in reader.samples("nvml").rows]
        assert [(0, "no driver"), (2, None), (4, "GPU is lost"), (5, "no driver")] == [
            (absence.t_ns, absence.reason) for absence in reader.absences()
        ]
        assert (
            Absence(t_ns=0, source="nvml", subject="gpu:0", quantity="power_watts", reason="no driver")
            == reader.absences()[0]
        )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_is_no_number_is_absent_and_says_so(tmp_path: Path, value: float) -> None:
    path = record(tmp_path / "run", sample(0, {"power_watts": value}))

    with RunReader.open(path) as reader:
        assert [(0, "gpu:0", None)] == reader.samples("nvml").rows
        assert [f"read as {value}, which is no number"] == [found.reason for found in reader.absences()]


def test_a_histogram_is_written_when_its_counts_change(tmp_path: Path) -> None:
    scrapes = [
        histogram(0),
        histogram(1),
        histogram(1, quantity="itl_s"),
        histogram(2, (1.0, 2.0, 4.0)),
        histogram(3, (1.0, 2.0, 4.0)),
        histogram(4, (0.0, 0.0, 1.0)),
    ]

    path = record(tmp_path / "run", *scrapes)

    with RunReader.open(path) as reader:
        assert [scrapes[0], scrapes[2], scrapes[3], scrapes[5]] == reader.histograms()
        assert [scrapes[2]] == reader.histograms("itl_s")
        # The state at the start of a span is needed to take a difference in it.
        assert [scrapes[0], scrapes[3]] == reader.histograms("ttft_s", start_ns=1, end_ns=4)
        assert [scrapes[2], scrapes[3], scrapes[5]] == reader.histograms(start_ns=3)


def test_requests_and_events_come_back_as_they_were_given(tmp_path: Path) -> None:
    requests = [request(1), request(2, error="HTTP 500"), request(3)]
    events = [event(1), event(2, kind="trace"), Event(t_ns=3, kind="gap", name="nvml")]

    path = record(tmp_path / "run", *reversed(requests), *reversed(events))

    with RunReader.open(path) as reader:
        assert requests == reader.requests()
        assert events == reader.events()
        assert events[1:2] == reader.events("trace")
        assert reader.newest_ns() is None


@pytest.mark.parametrize(
    "wrong",
    [
        sample(0, {"power": 1.0}),
        sample(0, {"ttft_s": 1.0}),
        Sample(t_ns=0, source="nvml", subject="gpu:0", values={}),
        sample(0, source="nvml; DROP TABLE run"),
        sample(0, source=""),
        sample(-1),
        sample(2**63),
        sample(0, subject="x" * 600_000),
        sample(0, {"power_watts": Absent("x" * 600_000)}),
        histogram(0, quantity="power_watts"),
        histogram(0, quantity="nothing"),
        histogram(0, (1.0, 2.0)),
        histogram(0, (1.0, 2.0, float("nan"))),
        event(0, name="é" * 300_000),
        Event(t_ns=0, kind="phase", name="x", end_ns=-5),
    ],
)
def test_what_the_store_cannot_hold_is_refused(tmp_path: Path, wrong: store.Record) -> None:
    with RunWriter.create(tmp_path / "run", run()) as writer:
        with pytest.raises(ValueError):  # noqa: PT011 - what it says differs, that it is refused does not
            writer.add([wrong])
        writer.add([sample(7)])
        writer.close(8)

    with RunReader.open(tmp_path / "run") as reader:
        assert [(7, "gpu:0", 400.0)] == reader.samples("nvml").rows


# --------------------------------------------------------------------------------------------------- roll-ups


def naive(samples: list[Sample], quantity: str, resolution_s: int) -> dict[tuple[int, str], list[float]]:
    """The values of each bucket and subject, by the definition."""
    buckets: dict[tuple[int, str], list[float]] = defaultdict(list)
    for found in samples:
        value = found.values.get(quantity)
        key = (found.t_ns // (resolution_s * NS) * resolution_s * NS, found.subject)
        buckets[key] += [value] if isinstance(value, float) else []
    return buckets


def check_rollups(reader: RunReader, samples: list[Sample], span_ns: tuple[int, int]) -> None:
    for resolution_s in RESOLUTIONS_S[1:]:
        table = reader.samples("nvml", resolution_s=resolution_s, start_ns=span_ns[0], end_ns=span_ns[1])
        place = {column: index for index, column in enumerate(table.columns)}
        for quantity in reader.quantities("nvml"):
            buckets = naive(samples, quantity, resolution_s)
            expected = {
                key: values
                for key, values in buckets.items()
                if key[0] + resolution_s * NS > span_ns[0] and key[0] < span_ns[1]
            }
            assert sorted(expected) == [row[:2] for row in table.rows]
            for row in table.rows:
                values = expected[row[:2]]
                mean, least, most, count = row[place[quantity] : place[quantity] + 4]
                assert (min(values, default=None), max(values, default=None), len(values)) == (
                    least,
                    most,
                    count,
                )
                assert mean == (pytest.approx(fmean(values), rel=1e-9, abs=1e-9) if values else None)


VALUES = st.floats(min_value=-1e9, max_value=1e9) | st.just(Absent("no driver"))
SAMPLES = st.builds(
    sample,
    st.integers(0, 2_000 * 4).map(lambda quarter: quarter * NS // 4) | st.integers(0, 2_000 * NS),
    st.dictionaries(st.sampled_from(QUANTITIES), VALUES, min_size=1),
    subject=st.sampled_from(["gpu:0", "gpu:1"]),
)


@settings(max_examples=40, deadline=None)
@given(
    flushes=st.lists(st.lists(SAMPLES, min_size=1, max_size=12), min_size=1, max_size=4),
    span_s=st.tuples(st.integers(0, 2_000), st.integers(1, 2_000)),
)
def test_rollups_equal_their_definition_after_every_flush(flushes: list[list[Sample]], span_s: tuple[int, int]) -> None:
    with tempfile.TemporaryDirectory() as folder, RunWriter.create(Path(folder), run()) as writer:
        written: list[Sample] = []
        for samples in flushes:
            writer.add(samples)
            writer.flush()
            written += samples
            with RunReader.open(Path(folder)) as reader:
                check_rollups(reader, written, (span_s[0] * NS, (span_s[0] + span_s[1]) * NS))
        writer.close(2_000 * NS)
        with RunReader.open(Path(folder)) as reader:
            check_rollups(reader, written, (0, 2_001 * NS))


def test_rollups_of_a_steady_recording_are_kept_not_recomputed(tmp_path: Path) -> None:
    """GIVEN samples at 4 Hz WHEN they are flushed once a second THEN only the open buckets are left to a reader."""
    with RunWriter.create(tmp_path / "run", run()) as writer:
        for second in range(125):
            writer.add([sample(second * NS + quarter * NS // 4) for quarter in range(4)])
            writer.flush()
        database = sqlite3.connect(tmp_path / "run" / "samples.sqlite")
        kept = {
            resolution_s: database.execute(f"SELECT count(*) FROM rollup_{resolution_s}_nvml").fetchone()[0]
            for resolution_s in RESOLUTIONS_S[1:]
        }
        database.close()

    assert {1: 124, 10: 12, 60: 2, 600: 0} == kept


@pytest.mark.parametrize(
    ("max_rows", "expected_s"), [(1000, 0), (400, 0), (399, 1), (200, 1), (199, 10), (20, 10), (19, 60), (4, 60)]
)
def test_the_finest_resolution_that_fits_is_chosen(tmp_path: Path, max_rows: int, expected_s: int) -> None:
    # 200 s at 2 Hz for one GPU, one sample for another.
    path = record(tmp_path / "run", *(sample(half * NS // 2) for half in range(400)), sample(3, subject="gpu:1"))

    with RunReader.open(path) as reader:
        assert expected_s == reader.resolution_for("nvml", max_rows=max_rows)
        assert 600 == reader.resolution_for("nvml", max_rows=0)
        assert 0 == reader.resolution_for("nvml", max_rows=40, start_ns=100 * NS, end_ns=120 * NS)
        assert 1 == reader.resolution_for("nvml", max_rows=39, start_ns=100 * NS, end_ns=120 * NS)
        assert 0 == reader.resolution_for("host", max_rows=1)


@settings(max_examples=30, deadline=None)
@given(
    times_s=st.lists(st.floats(0, 5_000), min_size=1, max_size=60),
    max_rows=st.integers(1, 80),
    span_s=st.tuples(st.floats(0, 5_000), st.floats(0, 5_000)),
)
def test_the_chosen_resolution_keeps_its_promise(
    times_s: list[float], max_rows: int, span_s: tuple[float, float]
) -> None:
    start_ns, end_ns = (int(t_s * NS) for t_s in span_s)
    with tempfile.TemporaryDirectory() as folder:
        path = record(Path(folder), *(sample(int(t_s * NS)) for t_s in times_s))
        with RunReader.open(path) as reader:
            chosen_s = reader.resolution_for("nvml", max_rows=max_rows, start_ns=start_ns, end_ns=end_ns)
            rows = {
                resolution_s: len(
                    reader.samples("nvml", resolution_s=resolution_s, start_ns=start_ns, end_ns=end_ns).rows
                )
                for resolution_s in RESOLUTIONS_S
            }

    assert rows[chosen_s] <= max_rows or chosen_s == RESOLUTIONS_S[-1]
    assert chosen_s == 0 or rows[0] > max_rows


# -------------------------------------------------------------------------------------- live, killed, finished


def test_a_reader_follows_a_run_that_is_written(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with RunWriter.create(path, run()) as writer, RunReader.open(path) as reader:
        versions = [store.version(path)]
        assert reader.live
        assert () == reader.sources()
        for second in range(3):
            writer.add([sample(second * NS), sample(second * NS, {"requests_running": 1.0}, source="serving")])
            assert store.version(path) == versions[-1]
            writer.flush()
            versions.append(store.version(path))
            assert ("nvml", "serving") == reader.sources()
            assert second * NS == reader.newest_ns()
            assert second + 1 == len(reader.samples("nvml", resolution_s=1).rows)
        writer.close(9)
        versions.append(store.version(path))
        assert 3 == len(reader.samples("nvml").rows)

    assert all(before != after for before, after in pairwise(versions))
    with RunReader.open(path) as reader:
        assert not reader.live


def test_finishing_a_run_while_it_is_read_leaves_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with RunWriter.create(path, run()) as writer:
        writer.add([sample(0)])
        writer.flush()
        with RunReader.open(path) as early:
            early.samples("nvml")
            writer.add([sample(1)])
            writer.close(2)
            before = listing(path)
            with RunReader.open(path) as late:
                assert not late.live
                assert 2 == len(late.samples("nvml").rows)
            assert before == listing(path)
            assert 2 == len(early.samples("nvml").rows)


def test_an_exception_leaves_what_was_added_and_an_unfinished_run(tmp_path: Path) -> None:
    def recording() -> None:
        with RunWriter.create(tmp_path / "run", run()) as writer:
            writer.add([sample(0)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recording()

    with RunReader.open(tmp_path / "run") as reader:
        assert reader.live
        assert 1 == len(reader.samples("nvml").rows)


def test_closing_twice_is_closing_once(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path / "run", run())
    writer.close(5)
    writer.close(6)

    with RunReader.open(tmp_path / "run") as reader:
        reader.close()
        assert 5 == reader.run.ended_ns


KILLED = """
import os, signal, sys
from pathlib import Path
from collector.store import RunWriter
from tests.collector.builders import NS, event, histogram, request, run, sample

writer = RunWriter.create(Path(sys.argv[1]), run())
for second in range(70):
    writer.add([sample(second * NS), histogram(second * NS, (0.0, 0.0, float(second))), request(second), event(second)])
    writer.flush()
writer.add([sample(70 * NS)])
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A run whose recorder was killed after 70 flushes, with one sample not flushed."""
    path = tmp_path / "run"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", KILLED, path], cwd=root, check=False)
    assert -signal.SIGKILL == done.returncode
    return path


def check_killed(reader: RunReader) -> None:
    assert reader.live
    assert reader.run.ended_ns is None
    assert [second * NS for second in range(70)] == [row[0] for row in reader.samples("nvml").rows]
    assert [60, 10] == [row[5] for row in reader.samples("nvml", resolution_s=60).rows]
    assert (70, 70, 70) == (len(reader.histograms()), len(reader.requests()), len(reader.events()))


def test_a_killed_recorder_loses_only_what_it_had_not_flushed(killed: Path) -> None:
    with RunReader.open(killed) as reader:
        check_killed(reader)


def test_a_killed_run_reads_from_a_medium_that_cannot_be_written(
    killed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # SQLite needs this file to read a WAL; a link to nowhere fails for root too, as a read-only medium would.
    (killed / "samples.sqlite-shm").unlink()
    (killed / "samples.sqlite-shm").symlink_to(tmp_path / "nowhere" / "file")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = listing(killed)

    with RunReader.open(killed) as reader:
        check_killed(reader)
        assert any(scratch.iterdir())

    assert before == listing(killed)
    assert not any(scratch.iterdir())


def test_reading_a_finished_run_writes_nothing(tmp_path: Path) -> None:
    path = record(tmp_path / "run", *(sample(t * NS) for t in range(20)), histogram(), request(), event())
    assert {".", "run.json", "samples.sqlite", "stacks", "traces"} == set(listing(path))
    for found in [*path.rglob("*"), path]:
        found.chmod(0o555 if found.is_dir() else 0o444)
    before = listing(path)

    with RunReader.open(path) as reader:
        for resolution_s in RESOLUTIONS_S:
            assert reader.samples("nvml", resolution_s=resolution_s).rows
        assert reader.histograms()
        assert reader.requests()
        assert reader.events()
        assert not reader.absences()
        assert () == reader.traces() == reader.stacks()
        assert before == listing(path)

    assert before == listing(path)
    for found in [path, *path.rglob("*")]:
        found.chmod(0o755)


# ---------------------------------------------------------------------------------------------- faults of disks


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(UserError, match=r"not empty; a recording needs a new or an empty folder$"):
        RunWriter.create(tmp_path, run())

    assert ["notes.txt"] == [path.name for path in tmp_path.iterdir()]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    RunWriter.create(tmp_path, run()).close(1)

    assert store.is_run(tmp_path)
    assert not store.is_run(tmp_path / "traces")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match=r"file/run: cannot be written \(Not a directory\)"):
        RunWriter.create(tmp_path / "file" / "run", run())


@pytest.mark.parametrize("existed", [True, False])
def test_a_failed_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, existed: bool
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "run"
    if existed:
        path.mkdir()
    monkeypatch.setattr("os.fsync", full)

    with pytest.raises(UserError, match=r"cannot be written \(No space left on device\)"):
        RunWriter.create(path, run())

    assert existed == path.exists()
    assert not existed or not any(path.iterdir())


def test_a_full_disk_loses_nothing_that_a_later_flush_can_write(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.add([sample(0)])
        writer.flush()
        pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
        writer._connection.execute(f"PRAGMA max_page_count = {pages}")
        writer.add(sample(t * NS, {"power_watts": float(t)}) for t in range(1, 2_000))
        with pytest.raises(UserError, match=r"run: cannot be written \(database or disk is full\); make room"):
            writer.flush()
        with RunReader.open(tmp_path / "run") as reader:
            assert 1 == len(reader.samples("nvml").rows)
        writer._connection.execute("PRAGMA max_page_count = 1000000")
        writer.add([sample(2_000 * NS)])
        writer.close(2_001 * NS)

    with RunReader.open(tmp_path / "run") as reader:
        assert [t * NS for t in range(2_001)] == [row[0] for row in reader.samples("nvml").rows]
        assert 2_001 == sum(row[5] for row in reader.samples("nvml", resolution_s=60).rows)


# ---------------------------------------------------------------------------------------------- files of others


Spoil: TypeAlias = Callable[[Path], object]


def sql(statement: str) -> Spoil:
    """A fault: the database after a statement."""

    def apply(path: Path) -> None:
        connection = sqlite3.connect(path / "samples.sqlite")
        connection.executescript(statement)
        connection.close()

    return apply


def json_text(text: str) -> Spoil:
    """A fault: another ``run.json``."""
    return lambda path: (path / "run.json").write_text(text)


def torn(path: Path) -> None:
    """A fault: the middle of the database is not what it was."""
    database = path / "samples.sqlite"
    data = database.read_bytes()
    database.write_bytes(data[:100] + b"\xff" * (len(data) - 100))


FAULTS: dict[str, tuple[Spoil, str]] = {
    "no folder": (lambda path: path.rename(path.with_name("elsewhere")), "no such folder"),
    "no run.json": (lambda path: (path / "run.json").unlink(), "not a run folder, because it has no run.json"),
    "not JSON": (json_text("{"), r"run.json: malformed"),
    "not UTF-8": (lambda path: (path / "run.json").write_bytes(b'{"run_id": "\xff"}'), "run.json: malformed"),
    "another JSON": (json_text("[1, 2]"), r"run.json: malformed"),
    "a wrong type": (
        json_text('{"run_id": 5, "started_ns": 0, "schema_version": 1}'),
        r"run.json: malformed .*run_id",
    ),
    "no version": (json_text('{"run_id": "x", "started_ns": 0}'), r"run.json: malformed .*schema_version"),
    "a deep nest": (json_text('{"x": ' + "[" * 100_000), r"run.json: malformed"),
    "a large run.json": (json_text(" " * 1_000_001), r"run.json: larger than 1 MB"),
    "a newer one": (
        json_text('{"schema_version": 7, "run_id": {}}'),
        r"run.json: was written by a newer Inferometer \(run folder schema 7, this one reads 1\): upgrade with pip",
    ),
    "no database": (lambda path: (path / "samples.sqlite").unlink(), "samples.sqlite: missing"),
    "no SQLite": (
        lambda path: (path / "samples.sqlite").write_text("x" * 5000),
        r"samples.sqlite: damaged \(file is not a database\)",
    ),
    "an empty database": (
        lambda path: (path / "samples.sqlite").write_bytes(b""),
        r"samples.sqlite: damaged \(table subject lacks id, name\)",
    ),
    "torn pages": (torn, "samples.sqlite: damaged"),
    "no table": (sql("DROP TABLE event"), r"samples.sqlite: damaged \(table event lacks detail"),
    "no column": (sql("ALTER TABLE request DROP COLUMN error"), r"damaged \(table request lacks error\)"),
    "no roll-up": (sql("DROP TABLE rollup_10_nvml"), r"damaged \(table rollup_10_nvml lacks"),
    "a view for a table": (
        sql("DROP TABLE absence; CREATE VIEW absence AS SELECT * FROM event"),
        r"damaged \(table absence lacks",
    ),
    "text for a number": (sql("UPDATE sample_nvml SET power_watts = 'high'"), "samples.sqlite: damaged"),
    "text for a time": (sql("UPDATE sample_nvml SET t_ns = 'noon'"), "samples.sqlite: damaged"),
    "a subject without a name": (sql("UPDATE sample_nvml SET subject = 77"), "samples.sqlite: damaged"),
    "no UTF-8 in the name": (
        sql("UPDATE event SET name = CAST(x'ff' AS TEXT)"),
        "samples.sqlite: damaged",
    ),
    "a count too few": (
        sql("UPDATE histogram SET cumulative = '[1.0]'"),
        r"damaged \(a histogram of ttft_s lacks counts\)",
    ),
    "edges that are no list": (sql("UPDATE edges SET edges = '{}'"), "samples.sqlite: damaged"),
    "edges that are gone": (sql("DELETE FROM edges"), "samples.sqlite: damaged"),
    "a detail that is no object": (sql("UPDATE event SET detail = '[' "), "samples.sqlite: damaged"),
    "a very long text": (
        sql("UPDATE event SET name = replace(hex(zeroblob(600000)), '00', 'ab')"),
        "samples.sqlite: damaged",
    ),
    "a request of words": (sql("UPDATE request SET ttft_s = 'soon'"), "samples.sqlite: damaged"),
}


def read_all(path: Path) -> None:
    with RunReader.open(path) as reader:
        reader.samples("nvml", resolution_s=1)
        reader.samples("nvml")
        reader.histograms()
        reader.requests()
        reader.events()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_file_is_one_sentence_that_names_it(tmp_path: Path, fault: str) -> None:
    spoil, message = FAULTS[fault]
    path = record(tmp_path / "run", sample(), histogram(), request(), event())
    spoil(path)

    with pytest.raises(UserError, match=message) as caught:
        read_all(path)

    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(UserError, match="file: not a run folder"):
        RunReader.open(tmp_path / "file")


def test_a_path_that_the_system_refuses_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run.json: cannot be read \(File name too long\); check the path"):
        RunReader.open(tmp_path / ("x" * 300))


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = record(tmp_path / "run")
    monkeypatch.setattr(Path, "open", forbidden)

    with pytest.raises(UserError, match=r"run.json: cannot be read \(Permission denied\); check the path"):
        RunReader.open(path)


def test_what_a_stranger_adds_to_a_run_is_not_read(tmp_path: Path) -> None:
    path = record(tmp_path / "run", sample())
    connection = sqlite3.connect(path / "samples.sqlite")
    connection.executescript(
        """
        CREATE TABLE sample_host (t_ns, subject, "power_watts; DROP TABLE event");
        CREATE TABLE "sample_a b" (t_ns, subject);
        ALTER TABLE sample_nvml ADD COLUMN bogus TEXT;
        """
    )
    for resolution_s in RESOLUTIONS_S[1:]:
        connection.execute(f"CREATE TABLE rollup_{resolution_s}_host (t_ns, subject)")
    connection.close()

    with RunReader.open(path) as reader:
        assert ("host", "nvml") == reader.sources()
        assert () == reader.quantities("host")
        assert ("power_watts",) == reader.quantities("nvml")
        assert [] == reader.samples("host").rows


# ----------------------------------------------------------------------------------------------- files recorded


def test_traces_and_stacks_are_found_by_name(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path / "run", run()) as writer:
        writer.trace_path("b.json.gz").write_text("trace b")
        writer.trace_path("a.json").write_text("trace a")
        writer.stack_path("s.json").write_text("stacks")
        writer.close(1)
    (tmp_path / "secret").write_text("")
    (tmp_path / "run" / "traces" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "run" / "traces" / "folder").mkdir()

    with RunReader.open(tmp_path / "run") as reader:
        assert ("a.json", "b.json.gz") == reader.traces()
        assert ("s.json",) == reader.stacks()
        assert "trace a" == reader.trace_path("a.json").read_text()
        assert "stacks" == reader.stack_path("s.json").read_text()
        for name in ("link", "folder", "../run.json", "c.json", ""):
            with pytest.raises(UserError, match=r"traces: no '.*' here; there is a.json, b.json.gz$"):
                reader.trace_path(name)


def test_a_run_without_folders_for_traces_has_none(tmp_path: Path) -> None:
    path = record(tmp_path / "run")
    for folder in ("traces", "stacks"):
        (path / folder).rmdir()

    with RunReader.open(path) as reader:
        assert () == reader.traces() == reader.stacks()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b"])
def test_a_trace_stays_inside_its_folder(tmp_path: Path, name: str) -> None:
    with RunWriter.create(tmp_path / "run", run()) as writer:
        for place in (writer.trace_path, writer.stack_path):
            with pytest.raises(UserError, match="not the bare name of a file"):
                place(name)


def test_no_quantity_is_named_like_a_column_of_another() -> None:
    columns = [
        f"{name}{suffix}"
        for name, quantity in CATALOGUE.items()
        if quantity.kind != "histogram"
        for suffix in ("", "_min", "_max", "_count")
    ]

    assert len(columns) == len(set(columns))
    assert {"t_ns", "subject"}.isdisjoint(columns)


def test_threads_may_take_turns(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool, RunWriter.create(tmp_path / "run", run()) as writer:
        pool.submit(writer.add, [sample()]).result()
        writer.flush()
        with RunReader.open(tmp_path / "run") as reader:
            assert 1 == len(pool.submit(reader.samples, "nvml").result().rows)


def test_a_long_run_gives_the_last_scrape_of_each_so_many_seconds_and_loses_no_count(tmp_path: Path) -> None:
    """A day in short: more scrapes than asked for, a restart in the middle of ten seconds."""
    counts = [*range(1, 48), *range(1, 74)]
    scrapes = [
        replace(histogram(second * 1_000_000_000, (0.0, 0.0, float(count))), sum=float(count))
        for second, count in enumerate(counts)
    ]
    path = record(tmp_path / "run", *scrapes)

    with RunReader.open(path) as reader:
        assert scrapes == reader.last_histograms(max_rows=len(scrapes))
        kept = reader.last_histograms(max_rows=30)

    assert [0, 9, 19, 29, 39, 46, 49, *range(59, 120, 10)] == [each.t_ns // 1_000_000_000 for each in kept]
    climbed = [b.sum - a.sum if b.sum >= a.sum else b.sum for a, b in pairwise(kept)]
    assert 46 + 73 == sum(climbed)
