"""Profiles of ONNX Runtime, timings of trtexec and stacks of py-spy: real files and files to the writers' sources."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer import importers
from analyzer.columns import CATEGORIES
from analyzer.importers import _documents, onnxruntime, speedscope, tensorrt
from analyzer.pipeline import analyze
from collector.errors import UserError
from collector.plugins import discover

DATA = Path(__file__).parent / "data"
#: A convolution, a pool and a product on the CPU, three runs; ONNX Runtime 1.31.1.
ONNX_RUNTIME = DATA / "onnxruntime_cpu.json"
#: Two threads, one of them tokenizing; py-spy 0.4.3, folders of files shortened.
PY_SPY = DATA / "py_spy.speedscope.json"

Json = dict[str, Any]


def write(folder: Path, content: object, name: str = "file.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def query(start_ms: float, **changes: Any) -> Json:
    """A query as TensorRT 10 writes it: 0.1 ms to enqueue, 1 ms in, 4 ms of computation, 0.5 ms out."""
    edges = {"Enq": (0, 0.1), "H2d": (0.2, 1.2), "Compute": (1.2, 5.2), "D2h": (5.2, 5.7)}
    instants = {f"{end}{part}Ms": start_ms + at for part, pair in edges.items()
                for end, at in zip(("start", "end"), pair, strict=True)}  # fmt: skip
    return instants | {"latencyMs": 5.5, "h2dMs": 1.0} | changes


LAYERS = [
    {"count": 100},
    {"name": "conv1 + relu", "timeMs": 30.0, "averageMs": 0.3, "medianMs": 0.3, "percentage": 75.0},
    {"name": "MatMul_3", "timeMs": 10.0, "averageMs": 0.1, "medianMs": 0.1, "percentage": 25.0},
]


def stacks(**changes: Any) -> Json:
    frames = [{"name": "main", "file": "/srv/app/main.py", "line": 1}, {"name": "encode_batch", "file": "t/tok.py"}]
    profile = {"type": "sampled", "name": "Thread 1", "unit": "seconds", "startValue": 0, "endValue": 0.03,
               "samples": [[0], [0, 1], [0, 1, 1]], "weights": [0.01, 0.01, 0.01]}  # fmt: skip
    schema = "https://www.speedscope.app/file-format-schema.json"
    return {"$schema": schema, "shared": {"frames": frames}, "profiles": [profile | changes], "exporter": "py-spy@0.4"}


def test_each_file_is_claimed_by_one_importer_whatever_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "profile").write_bytes(ONNX_RUNTIME.read_bytes())
    paths = {
        "onnxruntime": tmp_path / "profile",
        "speedscope": PY_SPY,
        "tensorrt": write(tmp_path, [query(0)], "trace.pt.trace.json"),
        "kineto": write(tmp_path, [{"ph": "X", "cat": "kernel", "name": "k", "ts": 1, "dur": 1}], "ort.json"),
    }
    for name, path in paths.items():
        head = path.read_bytes()[: 1 << 16]
        assert [name] == [plugin for plugin, module in discover(importers).items() if module.claims(path, head)]
    assert tensorrt.claims(tmp_path, json.dumps(LAYERS).encode())


def test_a_real_profile_of_onnx_runtime_lists_its_operators_and_abstains() -> None:
    analysis = analyze(ONNX_RUNTIME)

    assert analysis.kernels is not None
    events = [event for event in json.loads(ONNX_RUNTIME.read_text()) if event["cat"] == "Node"]
    longest = max({event["args"]["op_name"] for event in events}, key=lambda name: sum(
        event["dur"] for event in events if event["args"]["op_name"] == name))  # fmt: skip
    assert f"{longest} on CPU" == analysis.kernels[0].name
    assert sum(event["dur"] for event in events) / 1e6 == pytest.approx(sum(row.total_s for row in analysis.kernels))
    assert 1 == pytest.approx(sum(row.share for row in analysis.kernels))
    assert "convolution" in {row.family for row in analysis.kernels}
    assert "shows no device" in (analysis.verdict.abstained or "")


def test_kernels_of_onnx_runtime_are_device_work(tmp_path: Path) -> None:
    node = {"cat": "Node", "pid": 1, "tid": 1, "dur": 20, "ts": 10, "ph": "X", "name": "a_kernel_time"}
    kernel = {
        "cat": "Kernel",
        "pid": 1,
        "tid": 1,
        "dur": 50,
        "ts": 40,
        "ph": "X",
        "name": "gemm",
        "args": {"stream": "7"},
    }
    api = {"cat": "Api", "pid": 1, "tid": 1, "dur": 5, "ts": 15, "ph": "X", "name": "cudaLaunchKernel", "args": {}}
    trace = onnxruntime.load(write(tmp_path, [node | {"args": {"op_name": "MatMul"}}, api, kernel]))

    assert [(40_000, 90_000)] == list(zip(trace.device.start_ns, trace.device.end_ns, strict=True))
    assert ["operator", "runtime"] == [CATEGORIES[kind] for kind in trace.host.category]
    assert () == trace.totals


def test_a_profile_cut_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    text = ONNX_RUNTIME.read_text()
    whole = len(onnxruntime.load(ONNX_RUNTIME).host)
    for share in (0.3, 0.5, 0.9):
        trace = onnxruntime.load(write(tmp_path, text[: int(share * len(text))]))
        assert 0 < len(trace.host) < whole
        assert ["unreadable"] == [loss.kind for loss in trace.losses]


def test_a_full_recorder_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "MAX_EVENTS", 5)

    assert "recorder_full" in {loss.kind for loss in onnxruntime.load(ONNX_RUNTIME).losses}


def test_queries_are_copies_computation_and_their_call(tmp_path: Path) -> None:
    trace = tensorrt.load(write(tmp_path, [query(0.0), query(6.0)]))

    assert [1_000_000, 4_000_000, 500_000] * 2 == (trace.device.end_ns - trace.device.start_ns).tolist()
    assert [1, 1, 1, 2, 2, 2] == trace.device.correlation.tolist()
    assert [1, 2] == trace.host.correlation.tolist()
    assert (0, 11_700_000) == trace.window_ns


def test_the_older_names_of_trtexec_mean_the_same(tmp_path: Path) -> None:
    old = {
        "startInMs": 0.2,
        "endInMs": 1.2,
        "startComputeMs": 1.2,
        "endComputeMs": 5.2,
        "startOutMs": 5.2,
        "endOutMs": 5.7,
    }

    trace = tensorrt.load(write(tmp_path, [old]))

    assert [1_000_000, 4_000_000, 500_000] == (trace.device.end_ns - trace.device.start_ns).tolist()


def test_copies_that_no_computation_hides_are_what_holds_such_an_engine_back(tmp_path: Path) -> None:
    slow = [query(20.0 * i, endH2dMs=20 * i + 14.0, startComputeMs=20 * i + 14.0, endComputeMs=20 * i + 18.0,
                  startD2hMs=20 * i + 18.0, endD2hMs=20 * i + 20.0) for i in range(50)]  # fmt: skip

    analysis = analyze(write(tmp_path, slow))

    assert ("io", None) == (analysis.verdict.bottleneck, analysis.verdict.abstained)
    assert any("warm-up" in note for note in analysis.quality.notes)


def test_layers_are_listed_and_name_no_bottleneck(tmp_path: Path) -> None:
    analysis = analyze(write(tmp_path, LAYERS))

    assert analysis.kernels is not None
    assert [("conv1 + relu", 0.75, 100), ("MatMul_3", 0.25, 100)] == [
        (row.name, row.share, row.count) for row in analysis.kernels
    ]
    assert "--exportTimes" in (analysis.verdict.abstained or "")


def test_queries_whose_times_cannot_be_are_counted(tmp_path: Path) -> None:
    bad = [query(6, endComputeMs=0.0), query(12, startH2dMs=-1.0), query(18, startD2hMs=1e300)]

    trace = tensorrt.load(write(tmp_path, [query(0), *bad]))

    assert [("no_duration", 3)] == [(loss.kind, loss.count) for loss in trace.losses]


def test_a_real_recording_of_py_spy_shows_what_each_thread_did() -> None:
    analysis = analyze(PY_SPY)

    assert analysis.stacks is not None
    roles = {frame.role for frame in analysis.stacks}
    assert "tokenizing" in roles
    assert "not what the device waited for" in (analysis.verdict.abstained or "")
    document = json.loads(PY_SPY.read_text())
    for profile in document["profiles"]:
        mine = [frame for frame in analysis.stacks if frame.thread == profile["name"]]
        assert mine
        assert sum(frame.self_s for frame in mine) <= sum(profile["weights"]) + 1e-9
        assert max(frame.total_share for frame in mine) <= 1 + 1e-9


def test_a_function_counts_once_a_sample_however_deep_it_calls_itself(tmp_path: Path) -> None:
    analysis = analyze(write(tmp_path, stacks()))

    assert analysis.stacks is not None
    assert [("encode_batch (t/tok.py)", 0.02, 0.02), ("main (app/main.py)", 0.01, 0.03)] == [
        (frame.name, round(frame.self_s, 9), round(frame.total_s, 9)) for frame in analysis.stacks
    ]
    assert {"tokenizing"} == {frame.role for frame in analysis.stacks}


def test_samples_that_name_no_frame_are_counted(tmp_path: Path) -> None:
    damaged = stacks(samples=[[0], [9], [-1], []], weights=[0.01, 0.01, 0.01, 0.01, 0.01])

    trace = speedscope.load(write(tmp_path, damaged))

    assert [4] == [loss.count for loss in trace.losses]


@pytest.mark.parametrize(
    "content",
    [
        "[\n" + "[" * 100_000,
        json.dumps([query(0)])[:80],
        json.dumps([{"startEnqMs": "soon", "startComputeMs": 1}]),
        json.dumps([{"count": 0}, {"name": "a", "timeMs": 1, "averageMs": 1}]),
        json.dumps([{"startComputeMs": None}]),
        json.dumps([{"cat": "Session", "ph": "X"}]),
        json.dumps([{"cat": "Node", "ph": "X", "ts": -1, "dur": 1}]),
        json.dumps(stacks())[:300],
        json.dumps(stacks(unit="bytes")),
        json.dumps(stacks(type="evented")),
        json.dumps(stacks(samples=[])),
        json.dumps(stacks(weights=[1e300] * 3)),
    ],
)
def test_what_cannot_be_used_ends_in_one_sentence(tmp_path: Path, content: str) -> None:
    with pytest.raises(UserError) as raised:
        analyze(write(tmp_path, content))

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("bound", ["MAX_BYTES", "MAX_BRACKETS", "MAX_COMMAS"])
def test_more_than_fits_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    monkeypatch.setattr(_documents, bound, 3)

    with pytest.raises(UserError, match=r"more (than|entries)"):
        analyze(write(tmp_path, LAYERS))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    st.sampled_from([*(json.dumps(it) for it in ([query(0), query(6)], LAYERS, stacks())), ONNX_RUNTIME.read_text()]),
    st.lists(st.tuples(st.integers(0, 20_000), st.text(max_size=4)), max_size=8),
)  # fmt: skip
def test_damage_anywhere_gives_an_analysis_or_a_sentence(
    tmp_path: Path, text: str, damage: list[tuple[int, str]]
) -> None:
    for place, patch in damage:
        at = place % len(text)
        text = text[:at] + patch + text[at + len(patch) :]
    path = tmp_path / "damaged.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    try:
        analysis = analyze(path)
    except UserError as error:
        sentence = str(error)
    else:
        sentence = analysis.verdict.abstained or ""
        assert analysis.source.duration_s >= 0
    assert "\n" not in sentence
