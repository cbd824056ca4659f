import math
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.columns import RunData
from analyzer.importers import _run_frames, run_folder
from analyzer.pipeline import analyze
from analyzer.windows import extent
from collector.errors import UserError
from collector.schema import Absent, Engine, Event, Gpu, Histogram, Request, Run, Sample
from collector.store import Record, RunWriter
from tests.analyzer.runs import NS, START_NS, at

RUN = Run(
    run_id="r",
    started_ns=START_NS,
    gpus=(Gpu(index=0, name="NVIDIA H200"),),
    engine=Engine(name="vllm", version="0.23.0"),
)
#: A whole minute, so that roll-ups begin where the run does.
MINUTE_NS = START_NS // (60 * NS) * 60 * NS


def record(folder: Path, records: Iterable[Record], *, ended: bool = True) -> Path:
    """A run folder with these records."""
    path = folder / "run"
    writer = RunWriter.create(path, RUN)
    writer.add(records)
    writer.close(at(100) if ended else None)
    return path


def nvml(t_ns: int, **values: float | Absent) -> Sample:
    return Sample(t_ns=t_ns, source="nvml", subject="gpu:0", values=values)


def column(data: RunData, quantity: str, source: str = "nvml") -> list[float]:
    return data.samples[source][quantity].tolist()


# ------------------------------------------------------------------------------------------------- round trip


def test_what_was_recorded_is_read_back(tmp_path: Path) -> None:
    request = Request(t_ns=at(1), ttft_s=0.02, e2e_latency_s=1.5, input_tokens=10, output_tokens=20)
    failed = replace(request, t_ns=at(2), ttft_s=None, output_tokens=None, error="503")
    scrape = Histogram(
        t_ns=at(1), subject="engine:0", quantity="ttft_s", edges=(0.1, 0.2), cumulative=(1.0, 2.0, 4.0), sum=0.9
    )
    event = Event(t_ns=at(0), end_ns=at(3), kind="phase", name="load", detail={"concurrency": 8})
    path = record(
        tmp_path, [nvml(at(0), power_watts=400.0), nvml(at(1), power_watts=500.0), request, failed, scrape, event]
    )
    (path / "traces" / "t.pt.trace.json.gz").write_bytes(b"")

    data = run_folder.load(path)

    assert ("run", RUN.gpus, RUN.engine, at(100)) == (data.name, data.run.gpus, data.run.engine, data.run.ended_ns)
    assert [at(0), at(1)] == data.samples["nvml"]["t_ns"].tolist()
    assert [400.0, 500.0] == column(data, "power_watts")
    assert [at(1), at(2)] == data.requests["t_ns"].tolist()
    assert [False, True] == data.requests["error"].notna().tolist()
    assert [20.0, True] == [data.requests["output_tokens"][0], math.isnan(data.requests["output_tokens"][1])]
    assert asdict(scrape) == dict(zip(data.histograms, data.histograms.to_numpy()[0], strict=True))
    assert ((event,), (event,)) == (data.events, data.phases)
    assert ("t.pt.trace.json.gz",) == data.traces


def test_columns_have_their_types_even_when_they_are_empty(tmp_path: Path) -> None:
    for data in (
        run_folder.load(record(tmp_path / "full", [nvml(at(0), power_watts=400.0)])),
        run_folder.load(record(tmp_path / "empty", [])),
    ):
        assert {"int64"} == {
            str(frame["t_ns"].dtype) for frame in (*data.samples.values(), data.requests, data.histograms)
        }
        assert ["float64"] * 4 == [str(data.requests[name].dtype) for name in data.requests.columns[1:5]]


def test_an_instant_is_kept_to_the_nanosecond(tmp_path: Path) -> None:
    data = run_folder.load(record(tmp_path, [nvml(START_NS + 1, power_watts=1.0), nvml(START_NS + 2, power_watts=1.0)]))

    assert (START_NS + 1, START_NS + 3) == extent(data)


def test_several_subjects_come_sorted_by_time(tmp_path: Path) -> None:
    samples = [
        replace(nvml(at(second), power_watts=second), subject=f"gpu:{gpu}") for gpu in (1, 0) for second in (2, 1)
    ]

    data = run_folder.load(record(tmp_path, samples))

    assert [1.0, 1.0, 2.0, 2.0] == column(data, "power_watts")
    assert ["gpu:0", "gpu:1"] * 2 == data.samples["nvml"]["subject"].tolist()


def test_a_run_that_is_still_recorded_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "live"
    writer = RunWriter.create(path, RUN)
    writer.add(nvml(at(second), gpu_utilization_ratio=1.0, power_watts=400.0) for second in range(10))
    writer.flush()

    live = run_folder.load(path)
    writer.add([nvml(at(10), power_watts=400.0)])
    writer.close()

    assert (None, 10) == (live.run.ended_ns, len(live.samples["nvml"]))
    assert 11 == len(run_folder.load(path).samples["nvml"])
    assert analyze(path).source.duration_s == pytest.approx(10)


def test_every_source_is_reported_as_it_is_read(tmp_path: Path) -> None:
    path = record(tmp_path, [nvml(at(0), power_watts=1.0), replace(nvml(at(0), power_watts=1.0), source="host")])
    done: list[tuple[int, int]] = []

    run_folder.load(path, lambda *progress: done.append(progress))

    assert [(1, 2), (2, 2)] == done


# -------------------------------------------------------------------------------------------------- absences


def test_an_absent_value_is_nan_and_its_reason_is_kept(tmp_path: Path) -> None:
    data = run_folder.load(record(tmp_path, [nvml(at(0), power_watts=400.0, sm_active_ratio=Absent("no permission"))]))

    assert math.isnan(column(data, "sm_active_ratio")[0])
    assert {"nvml/gpu:0/sm_active_ratio": "no permission"} == data.absences


def test_what_could_be_read_in_the_end_is_not_absent(tmp_path: Path) -> None:
    first = nvml(at(0), sm_active_ratio=Absent("the first reading has no window"))

    data = run_folder.load(record(tmp_path, [first, nvml(at(1), sm_active_ratio=0.7)]))

    assert {} == data.absences


def test_the_last_reason_counts(tmp_path: Path) -> None:
    reasons = ["no permission", "the GPU fell off the bus"]
    samples = [nvml(at(second), power_watts=Absent(reason)) for second, reason in enumerate(reasons)]

    assert {"nvml/gpu:0/power_watts": reasons[-1]} == run_folder.load(record(tmp_path, samples)).absences


@pytest.mark.parametrize("odd", ["9e999", "-9e999"])
def test_infinity_in_a_stranger_s_file_is_no_reading(tmp_path: Path, odd: str) -> None:
    path = record(tmp_path, [nvml(at(0), power_watts=400.0)])
    connection = sqlite3.connect(path / "samples.sqlite")
    connection.execute(f"UPDATE sample_nvml SET power_watts = {odd}")
    connection.commit()
    connection.close()

    assert math.isnan(column(run_folder.load(path), "power_watts")[0])


# --------------------------------------------------------------------------------------------------- roll-ups


@pytest.fixture
def long_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two minutes and 3 s at 10 Hz, as if that were long: a counter that climbs 10 a second and restarts once."""
    monkeypatch.setattr(_run_frames, "MAX_SAMPLES", 60)
    monkeypatch.setattr(_run_frames, "MAX_ROLLUPS", 15)
    return record(
        tmp_path,
        (
            nvml(
                MINUTE_NS + tick * NS // 10,
                power_watts=float(tick % 100),
                energy_joules_total=float(tick if tick <= 615 else tick - 615),
                sm_active_ratio=0.5 if tick < 600 else Absent("lost"),
            )
            for tick in range(1231)
        ),
    )


def test_a_long_run_is_read_in_roll_ups(long_run: Path) -> None:
    data = run_folder.load(long_run)

    assert 13 == len(data.samples["nvml"])
    assert [49.5] * 12 == column(data, "power_watts")[:12]
    assert [0.5] * 6 == column(data, "sm_active_ratio")[:6]
    assert all(map(math.isnan, column(data, "sm_active_ratio")[6:]))


def test_a_roll_up_is_a_reading_at_its_last_instant(long_run: Path) -> None:
    instants = run_folder.load(long_run).samples["nvml"]["t_ns"].to_numpy(np.int64) - MINUTE_NS

    assert [*range(10 * NS - 1, 130 * NS - 1, 10 * NS), 123 * NS] == instants.tolist()


def test_a_counter_of_a_roll_up_is_what_it_had_climbed_to(long_run: Path) -> None:
    climbed = column(run_folder.load(long_run), "energy_joules_total")

    assert [99.0, 199.0, 299.0, 399.0, 499.0, 599.0] == climbed[:6]
    assert climbed[-1] == 1230 - 615


def test_a_short_run_is_read_sample_by_sample(long_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run_frames, "MAX_SAMPLES", 1231)

    assert 1231 == len(run_folder.load(long_run).samples["nvml"])


def test_roll_ups_conclude_as_the_samples_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty minutes that alternate between decode and an empty server, in samples and in roll-ups."""
    whole_minutes = Event(t_ns=MINUTE_NS + 60 * NS, end_ns=MINUTE_NS + 1200 * NS, kind="phase", name="load")
    path = record(tmp_path, [*_alternating(1200), whole_minutes])
    fine = analyze(path, window_s=60)
    monkeypatch.setattr(_run_frames, "MAX_SAMPLES", 600)
    monkeypatch.setattr(_run_frames, "MAX_ROLLUPS", 150)

    coarse = analyze(path, window_s=60)

    assert [window.bottleneck for window in fine.verdict.windows] == [w.bottleneck for w in coarse.verdict.windows]
    assert {"low_traffic", "memory_bandwidth"} == {window.bottleneck for window in coarse.verdict.windows}
    assert {share.bottleneck: pytest.approx(share.share, abs=0.02) for share in fine.verdict.shares} == {
        share.bottleneck: share.share for share in coarse.verdict.shares
    }
    assert fine.cost is not None
    assert coarse.cost is not None
    assert fine.cost.overall.idle_ratio == pytest.approx(coarse.cost.overall.idle_ratio, abs=0.02)
    assert fine.cost.overall.requests_ok == pytest.approx(coarse.cost.overall.requests_ok, rel=0.02)


def _alternating(seconds: int) -> Iterable[Sample]:
    for second in range(seconds + 1):
        busy = float(second % 240 < 120)
        ratios: dict[str, Any] = {"graphics_active_ratio": busy, "tensor_active_ratio": 0.1 * busy}
        yield nvml(MINUTE_NS + second * NS, **ratios, dram_active_ratio=0.6 * busy)
        yield Sample(
            t_ns=MINUTE_NS + second * NS,
            source="serving",
            subject="engine:0",
            values={"requests_running": 4 * busy, "requests_waiting": 0.0, "requests_ok_total": float(second)},
        )


# ---------------------------------------------------------------------------------------------------- damage


def test_only_a_folder_with_a_run_in_it_is_claimed(tmp_path: Path) -> None:
    path = record(tmp_path, [])

    assert run_folder.claims(path, b"")
    assert not run_folder.claims(path / "run.json", b"{}")
    assert not run_folder.claims(tmp_path, b"")
    assert not run_folder.claims(tmp_path / "nowhere", b"")


@pytest.mark.parametrize("name", ["run.json", "samples.sqlite"])
def test_a_damaged_folder_is_a_mistake_in_one_sentence(tmp_path: Path, name: str) -> None:
    path = record(tmp_path, [nvml(at(0), power_watts=1.0)])
    (path / name).write_bytes(b"\0" * 100)

    with pytest.raises(UserError, match=name):
        run_folder.load(path)
