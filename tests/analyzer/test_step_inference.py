"""Steps nobody marked: real traces with their marks taken away, and loops that are none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analyzer.columns import Trace
from analyzer.importers import kineto
from analyzer.kernels import families
from analyzer.step_inference import infer_steps
from analyzer.steps import StepColumns, find_steps
from tests.analyzer.traces import Json, kernel, launch, load, mark

TRACES = Path(__file__).parents[2] / "sample_traces" / "vllm_h200" / "traces"


def inferred(trace: Trace) -> StepColumns | None:
    return infer_steps(trace, families(trace))


def decoding(steps: int, layers: int = 6) -> list[Json]:
    """Steps of 200 µs: a copy of the inputs, layers of two kernels, a sampler, then 20 µs of nothing."""
    events = []
    for step in range(steps):
        at = 200.0 * step
        events.append(kernel(at, 5, "Memcpy HtoD (Pinned -> Device)") | {"cat": "gpu_memcpy"})
        for layer in range(layers):
            events += [kernel(at + 10 + 25 * layer, 10, "flash_fwd"), kernel(at + 22 + 25 * layer, 10, "nvjet_gemm")]
        events.append(kernel(at + 170, 10, "argmax_kernel"))
    return events


@pytest.mark.parametrize("name", ["decode_c32", "low_rate", "single_stream", "prefill"])
def test_a_real_trace_without_its_marks_shows_nearly_the_same_steps(name: str) -> None:
    trace = kineto.load(TRACES / f"{name}.pt.trace.json.gz")
    marked, nothing = find_steps(trace), np.zeros(0, np.intp)
    bare = replace(trace, device_marks=trace.device_marks.take(nothing), host_marks=trace.host_marks.take(nothing))

    steps = inferred(bare)

    assert find_steps(bare) is None
    assert marked is not None
    assert steps is not None
    assert len(marked) == len(steps)
    assert np.median(np.diff(marked.start_ns)) == pytest.approx(np.median(np.diff(steps.start_ns)), rel=0.01)
    assert 0.5 < steps.confidence < 1
    replayed = [phase for phase in steps.unnamed or () if phase == "decode"]
    assert len(replayed) == pytest.approx(int((marked.generation * (marked.context == 0) > 0).sum()), abs=2)


def test_a_step_and_not_a_layer_is_what_repeats(tmp_path: Path) -> None:
    steps = inferred(load(tmp_path, decoding(8)))

    assert steps is not None
    assert (8, ("step",) * 8) == (len(steps), steps.unnamed)
    assert {200_000} == set(np.diff(steps.start_ns).tolist())
    assert 0.9 < steps.confidence < 1


def test_replays_that_hold_attention_are_decoding(tmp_path: Path) -> None:
    replays = [
        [launch(200 * n, 5, correlation=n + 1, name="cudaGraphLaunch"),
         kernel(200 * n + 10, 50, "flash_fwd", correlation=n + 1), kernel(200 * n + 70, 50, correlation=n + 1)]
        for n in range(6)
    ]  # fmt: skip

    steps = inferred(load(tmp_path, *replays))

    assert steps is not None
    assert ("decode",) * 6 == steps.unnamed


def test_a_loop_without_attention_or_replay_is_no_step(tmp_path: Path) -> None:
    assert inferred(load(tmp_path, [kernel(100 * n, 50, "nvjet_gemm") for n in range(20)])) is None


def test_work_that_does_not_repeat_is_no_step(tmp_path: Path) -> None:
    assert inferred(load(tmp_path, [kernel(100 * n, 50, f"flash_{n}") for n in range(20)])) is None


def test_turns_at_no_regular_time_are_no_steps(tmp_path: Path) -> None:
    at = np.cumsum([2**n for n in range(9)])

    assert inferred(load(tmp_path, [kernel(float(start), 1, "flash_fwd") for start in at])) is None


def test_turns_of_a_profiled_loop_are_its_steps(tmp_path: Path) -> None:
    loop = [event for n in range(3) for event in [*mark(100 * n, 90, f"ProfilerStep#{n}"), kernel(100 * n, 80)]]

    steps = inferred(load(tmp_path, loop))

    assert steps is not None
    assert (1.0, ("step",) * 3, "ProfilerStep marks") == (steps.confidence, steps.unnamed, steps.origin)
    assert [100_000, 100_000, 80_000] == (steps.end_ns - steps.start_ns).tolist()
