"""Nsight Systems exports, built to the documented schema: whole, old, of several processes, damaged, hostile."""

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.columns import CATEGORIES, Trace
from analyzer.importers import _nsys_tables, nsys
from analyzer.pipeline import analyze, find_sources
from collector.errors import UserError

EPOCH_NS = 1_790_000_000_000_000_000
#: Two processes: a thread's id in the lowest 24 bits, its process's above.
PID, OTHER_PID = 41, 42
PROCESS, THREAD = PID << 24, (PID << 24) + 7
OTHER, OTHER_THREAD = OTHER_PID << 24, (OTHER_PID << 24) + 7

STRINGS = {1: "void nvjet_gemm<T>(int)", 2: "nvjet_gemm", 3: "cudaLaunchKernel_v7000", 4: "cudaGraphLaunch_v10000",
           5: "execute_context_0(0)_generation_4(4)"}  # fmt: skip

Table = Sequence[Mapping[str, Any]]


def report(path: Path, **tables: Table) -> Path:
    """Write a report: each table has the columns of its first row."""
    defaults: dict[str, Table] = {
        "StringIds": [{"id": number, "value": text} for number, text in STRINGS.items()],
        "META_DATA_EXPORT": [{"name": "EXPORT_SCHEMA_VERSION", "value": "3.25.0"}],
        "TARGET_INFO_SESSION_START_TIME": [{"utcEpochNs": EPOCH_NS}],
        "TARGET_INFO_GPU": [{"id": 0, "name": "NVIDIA H200", "smCount": 132, "totalMemory": 150_109_880_320}],
    }
    with closing(sqlite3.connect(path)) as database:
        for name, rows in (defaults | tables).items():
            if rows:
                columns = ", ".join(f'"{column}"' for column in rows[0])
                database.execute(f'CREATE TABLE "{name}" ({columns})')
                places = ", ".join("?" for _ in rows[0])
                database.executemany(f'INSERT INTO "{name}" VALUES ({places})', [tuple(row.values()) for row in rows])
        database.commit()
    return path


def kernel(start: Any, end: Any, correlation: int = 0, **rest: Any) -> dict[str, Any]:
    common = {"start": start, "end": end, "deviceId": 0, "streamId": 7, "correlationId": correlation}
    return common | {"globalPid": PROCESS, "demangledName": 1, "shortName": 2} | rest


def call(start: int, end: int, correlation: int, name: int = 3, thread: int = THREAD) -> dict[str, Any]:
    return {"start": start, "end": end, "globalTid": thread, "correlationId": correlation, "nameId": name}


def load(path: Path, **tables: Table) -> Trace:
    return nsys.load(report(path / "report.sqlite", **tables))


def rows(trace: Trace, group: str = "device") -> list[tuple[str, int, int, str]]:
    spans = getattr(trace, group)
    base = trace.window_ns[0]
    columns = zip(spans.name, spans.start_ns - base, spans.end_ns - base, spans.category, strict=True)
    return [(trace.names[name], start, end, CATEGORIES[kind]) for name, start, end, kind in columns]


def test_kernels_copies_and_calls_are_read_and_dated(tmp_path: Path) -> None:
    copy = kernel(300, 400, 2, bytes=1000, copyKind=1, srcKind=0, dstKind=2)
    trace = load(
        tmp_path,
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(100, 200, 1)],
        CUPTI_ACTIVITY_KIND_MEMCPY=[copy],
        CUPTI_ACTIVITY_KIND_MEMSET=[kernel(450, 460, 3)],
        CUPTI_ACTIVITY_KIND_RUNTIME=[call(0, 50, 1), call(250, 280, 2)],
    )

    assert [
        ("void nvjet_gemm<T>(int)", 100, 200, "kernel"),
        ("Memcpy HtoD (Pageable -> Device)", 300, 400, "memcpy"),
        ("Memset", 450, 460, "memset"),
    ] == rows(trace)
    assert [("cudaLaunchKernel", 0, 50, "runtime"), ("cudaLaunchKernel", 250, 280, "runtime")] == rows(trace, "host")
    assert EPOCH_NS == trace.window_ns[0]
    assert trace.device.correlation.tolist()[:2] == trace.host.correlation.tolist()
    assert ("NVIDIA H200", 132) == (trace.devices[0].name, trace.devices[0].sm_count)
    assert not trace.losses
    assert not trace.notes


def test_one_correlation_of_two_processes_joins_nothing_across_them(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(100, 200, 1), kernel(100, 200, 1, globalPid=OTHER)],
        CUPTI_ACTIVITY_KIND_RUNTIME=[call(0, 50, 1, thread=OTHER_THREAD)],
    )

    assert [False, True] == [number == trace.host.correlation[0] for number in sorted(trace.device.correlation)]


def test_two_processes_that_both_say_device_0_are_told_apart(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(100, 200), kernel(100, 200, globalPid=OTHER)],
        TARGET_INFO_CUDA_DEVICE=[
            {"gpuId": 0, "cudaId": 0, "pid": PID},
            {"gpuId": 3, "cudaId": 0, "pid": OTHER_PID},
        ],
    )

    assert [0, 3] == sorted(trace.device.row.tolist())
    assert ["NVIDIA H200", ""] == [trace.devices[index].name for index in (0, 3)]


def test_a_graph_is_one_span_unless_its_nodes_were_recorded(tmp_path: Path) -> None:
    graph = {"start": 100, "end": 900, "deviceId": 0, "streamId": 7, "globalPid": PROCESS, "graphId": 5}
    trace = load(
        tmp_path,
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(1000, 1100, 2, graphNodeId=1 << 33)],
        CUPTI_ACTIVITY_KIND_GRAPH_TRACE=[graph | {"correlationId": 1}, graph | {"correlationId": 2}],
        CUPTI_ACTIVITY_KIND_RUNTIME=[call(0, 50, 1, 4), call(60, 70, 2, 4)],
    )

    assert ["CUDA graph 5", "void nvjet_gemm<T>(int)"] == [name for name, *_ in rows(trace)]
    assert "1 replays of CUDA graphs are one span each" in trace.notes[0]


@pytest.mark.parametrize("own_text", [True, False])
def test_ranges_are_marks_wherever_their_text_stands(tmp_path: Path, own_text: bool) -> None:  # noqa: FBT001
    name = STRINGS[5]
    text = {"text": name if own_text else None, "textId": None if own_text else 5}
    common = {"globalTid": THREAD, "eventType": 59}
    ranges = [{"start": 10, "end": 90} | common | text, {"start": 95, "end": None} | common | text]
    instant = {"start": 20, "end": None} | common | {"eventType": 34} | text
    trace = load(tmp_path, CUPTI_ACTIVITY_KIND_KERNEL=[kernel(100, 200, 1)], NVTX_EVENTS=[*ranges, instant])

    assert [(name, 0, 80, "mark")] == rows(trace, "host_marks")


def test_an_old_report_without_processes_and_names_is_read(tmp_path: Path) -> None:
    old = {"start": 100, "end": 200, "deviceId": 0, "streamId": 7, "correlationId": 1, "shortName": 2}
    trace = load(
        tmp_path,
        CUPTI_ACTIVITY_KIND_KERNEL=[old],
        CUPTI_ACTIVITY_KIND_RUNTIME=[call(0, 50, 1, 99)],
        TARGET_INFO_GPU=[],
        TARGET_INFO_SESSION_START_TIME=[],
    )

    assert ["nvjet_gemm"] == [name for name, *_ in rows(trace)]
    assert ["unknown"] == [name for name, *_ in rows(trace, "host")]
    assert trace.device.correlation.tolist() == trace.host.correlation.tolist()
    assert "" == trace.devices[0].name
    assert any("no date" in note for note in trace.notes)


def test_the_profilers_own_time_is_a_union(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(100, 200)],
        PROFILER_OVERHEAD=[{"start": 0, "end": 50}, {"start": 20, "end": 60}],
        CUPTI_ACTIVITY_KIND_OVERHEAD=[{"start": 55, "end": 70}],
    )

    assert 70 == trace.overhead_ns


def test_a_report_gets_a_verdict_steps_and_kernels(tmp_path: Path) -> None:
    steps = range(10)
    path = report(
        tmp_path / "report.sqlite",
        CUPTI_ACTIVITY_KIND_KERNEL=[kernel(step * 10_000 + 3000, step * 10_000 + 9000, step + 1) for step in steps],
        CUPTI_ACTIVITY_KIND_RUNTIME=[call(step * 10_000 + 1000, step * 10_000 + 2000, step + 1) for step in steps],
        NVTX_EVENTS=[
            {"start": step * 10_000, "end": step * 10_000 + 9000, "globalTid": THREAD, "eventType": 59, "textId": 5}
            for step in steps
        ],
    )

    assert [path] == find_sources(tmp_path)
    analysis = analyze(path)

    assert analysis.verdict.abstained is None
    assert analysis.steps is not None
    assert ("decode", 4.0) == (analysis.steps.groups[0].phase, analysis.steps.groups[0].batch_p50)
    assert analysis.kernels is not None
    assert ("gemm", "memory") == (analysis.kernels[0].family, analysis.kernels[0].bound)


def test_times_that_cannot_be_are_counted(tmp_path: Path) -> None:
    bad = [kernel(-5, 10), kernel(200, 100), kernel(0, 1 << 62), kernel("x", None), kernel(1 << 62, (1 << 62) + 9)]
    trace = load(tmp_path, CUPTI_ACTIVITY_KIND_KERNEL=[kernel(100, 200), *bad])

    assert [("no_duration", 4, 4)] == [(loss.kind, loss.count, loss.device_count) for loss in trace.losses]
    assert {100, 0} == {int(ns) for ns in trace.device.end_ns - trace.device.start_ns}


def test_an_index_that_a_tool_added_changes_no_name(tmp_path: Path) -> None:
    path = report(tmp_path / "report.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=[kernel(0, 5)],
                  StringIds=[{"id": 2, "value": "second"}, {"id": 1, "value": "first"}])  # fmt: skip
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE INDEX by_id ON StringIds (id)")
        database.commit()

    assert ["first"] == [name for name, *_ in rows(nsys.load(path))]


def test_a_database_of_something_else_is_not_claimed(tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(other)) as database:
        database.execute("CREATE TABLE samples (t_ns)")

    with pytest.raises(UserError, match="holds no trace"):
        find_sources(tmp_path)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_truncated_report_ends_in_one_sentence(tmp_path: Path, share: float) -> None:
    whole = report(
        tmp_path / "whole.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=[kernel(9 * i, 9 * i + 5, i) for i in range(9000)]
    ).read_bytes()
    path = tmp_path / "cut.sqlite"
    path.write_bytes(whole[: int(share * len(whole))])

    with pytest.raises(UserError, match=r"cut\.sqlite .*"):
        analyze(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40_000), st.integers(0, 255)), min_size=1, max_size=30))
def test_flipped_bytes_give_a_trace_or_a_sentence(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    path = tmp_path / "report.sqlite"
    if not path.exists():
        report(path, CUPTI_ACTIVITY_KIND_KERNEL=[kernel(9 * i, 9 * i + 5, i) for i in range(300)])
        (tmp_path / "whole").write_bytes(path.read_bytes())
    damaged = bytearray((tmp_path / "whole").read_bytes())
    for place, value in flips:
        damaged[place % len(damaged)] = value
    path.write_bytes(damaged)

    try:
        trace = nsys.load(path)
    except UserError as error:
        sentence = str(error)
    else:
        sentence = ""
        assert len(trace.device) <= 301
    assert "\n" not in sentence


def test_a_view_in_the_place_of_a_table_is_not_run(tmp_path: Path) -> None:
    path = report(tmp_path / "report.sqlite", CUPTI_ACTIVITY_KIND_RUNTIME=[call(0, 50, 1)])
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS WITH RECURSIVE n(start) AS "
            "(SELECT 1 UNION ALL SELECT start + 1 FROM n) SELECT start, start AS end FROM n"
        )
        database.commit()

    assert 0 == len(nsys.load(path).device)


def test_too_many_rows_and_too_much_text_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = report(tmp_path / "report.sqlite", CUPTI_ACTIVITY_KIND_KERNEL=[kernel(0, 5)] * 20)

    monkeypatch.setattr(_nsys_tables, "MAX_ROWS", 10)
    with pytest.raises(UserError, match="more than 10 rows"):
        nsys.load(path)
    monkeypatch.undo()
    monkeypatch.setattr(_nsys_tables, "MAX_NAME_CHARACTERS", 10)
    with pytest.raises(UserError, match="more text of names"):
        nsys.load(path)


def test_a_report_of_nothing_says_how_to_record_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--trace=cuda,nvtx"):
        load(tmp_path)
