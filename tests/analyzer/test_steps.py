from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.columns import Trace
from analyzer.evidence.trace import device_times
from analyzer.kernels import families, roofs
from analyzer.schema import Steps
from analyzer.steps import HOST_ONLY, StepColumns, find_steps, steps_by_device, summarise
from tests.analyzer.traces import Json, decode_step, kernel, launch, load, mark


def found(trace: Trace) -> StepColumns:
    steps = find_steps(trace)
    assert steps is not None
    return steps


def shown(trace: Trace) -> Steps:
    steps, family_of = found(trace), families(trace)
    times = device_times(trace, family_of, roofs(trace, family_of, steps, None), steps)
    (time,) = [time for time in times if time.device == steps.device]
    return summarise(steps, time.busy_parts, time.idle)


@pytest.mark.parametrize(
    ("name", "phase", "batch", "tokens"),
    [
        ("execute_context_0(0)_generation_32(32)", "decode", 32, 32),
        ("execute_context_2(8190)_generation_2(2)", "mixed", 4, 8192),
        ("step[EXTEND bs=2 toks=14721]", "prefill", 2, 14721),
        ("step[MIXED bs=5]", "mixed", 5, None),
        ("[Executor] _forward_step 12: 1 ctx reqs, 31 gen reqs", "mixed", 32, None),
    ],
)
def test_a_mark_says_its_phase_batch_and_tokens(
    tmp_path: Path, name: str, phase: str, batch: int, tokens: int | None
) -> None:
    (step,) = shown(load(tmp_path, mark(0, 50, name), kernel(0, 50))).steps

    assert (phase, batch, tokens) == (step.phase, step.batch, step.tokens)


@pytest.mark.parametrize(
    "name", ["execute_context_0(0)_generation_0(0)", "## Call CompiledFxGraph fgi3 ##", "ProfilerStep#4", "execute_"]
)
def test_other_marks_are_no_steps(tmp_path: Path, name: str) -> None:
    assert find_steps(load(tmp_path, mark(0, 50, name), kernel(0, 50))) is None


def test_a_step_lasts_until_the_next_one_starts_and_the_last_until_its_work_ends(tmp_path: Path) -> None:
    # GIVEN marks of 40 µs every 100 µs, with the sampler at work after each mark
    trace = load(tmp_path, *[[*decode_step(100 * row, 40), kernel(100 * row, 90)] for row in range(3)])

    steps = found(trace)

    assert [100_000, 100_000, 90_000] == (steps.end_ns - steps.start_ns).tolist()


def test_medians_speak_of_the_steady_steps_only(tmp_path: Path) -> None:
    # GIVEN two slow first steps, then five of 10 µs with 8 µs of work each
    starts = [0, 500, 900, 910, 920, 930, 940]
    trace = load(tmp_path, *[[*decode_step(at, 5, 4), kernel(at, 8)] for at in starts], kernel(948, 2))

    summary = shown(trace)

    (decode,) = summary.groups
    assert (2, 7) == (summary.warm_up, len(summary.steps))
    assert (5, 4) == (decode.count, decode.batch_p50)
    assert pytest.approx(10e-6) == decode.duration_p50_s
    assert pytest.approx(4 / 10e-6) == decode.tokens_per_s
    assert pytest.approx(8 / 50) == decode.idle_ratio
    assert pytest.approx(2e-6) == decode.gap_p50_s
    assert {"unknown_launch": 8e-6} == decode.idle
    assert pytest.approx(8 / 500) == summary.steps[0].busy_ratio


def test_a_range_that_the_profiler_drew_on_two_streams_is_one_step(tmp_path: Path) -> None:
    # GIVEN two steps, the copy of each on a stream of its own that runs into the next step
    def drawn(at: float, us: float, stream: int, range_id: int) -> Json:
        (twin,) = [event for event in decode_step(at, us) if event["cat"] == "gpu_user_annotation"]
        return twin | {"tid": stream, "args": {"External id": range_id}}

    trace = load(
        tmp_path,
        [kernel(0, 50), kernel(60, 50), drawn(0, 50, 7, 1), drawn(60, 50, 7, 2)],
        [kernel(49, 20, stream=13), kernel(109, 20, stream=13), drawn(49, 20, 13, 1), drawn(109, 20, 13, 2)],
    )

    assert [60_000, 69_000] == (found(trace).end_ns - found(trace).start_ns).tolist()


def test_a_range_inside_a_step_is_a_part_of_it(tmp_path: Path) -> None:
    trace = load(tmp_path, decode_step(0, 50, 8), mark(10, 20, "step[DECODE bs=3]"), kernel(0, 50))

    assert [8] == found(trace).generation.tolist()


def test_a_mark_without_a_twin_on_the_device_is_the_work_it_launched(tmp_path: Path) -> None:
    # GIVEN a host that runs two steps ahead of its device, on a trace without marks on the device
    host = [event for at in (0, 10, 20) for event in decode_step(at, 8) if event["cat"] == "user_annotation"]
    calls = [launch(at + 1, 2, correlation=number) for number, at in enumerate((0, 10, 20), start=1)]
    work = [kernel(100 * number, 60, correlation=number, device=3) for number in (1, 2, 3)]

    steps = found(load(tmp_path, host, calls, work))

    assert 3 == steps.device
    assert [100_000, 100_000, 60_000] == (steps.end_ns - steps.start_ns).tolist()


def test_steps_of_a_trace_without_device_work_are_the_hosts(tmp_path: Path) -> None:
    host = [event for at in (0, 10) for event in decode_step(at, 8) if event["cat"] == "user_annotation"]

    steps = found(load(tmp_path, host))

    assert (HOST_ONLY, [10_000, 8_000]) == (steps.device, (steps.end_ns - steps.start_ns).tolist())


def test_host_marks_that_nothing_links_to_the_device_are_no_steps_of_it(tmp_path: Path) -> None:
    host = [event for event in decode_step(0, 8) if event["cat"] == "user_annotation"]

    assert find_steps(load(tmp_path, host, kernel(100, 60))) is None


def test_each_device_has_steps_of_its_own(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        *[
            [*decode_step(at, 5, device=device), kernel(at, 5, device=device)]
            for device, at in ((0, 0), (1, 20), (1, 40))
        ],
    )

    assert {0: 1, 1: 2} == {device: len(steps) for device, steps in steps_by_device(trace).items()}
    assert 0 == found(trace).device


STEP = st.tuples(st.integers(1, 40), st.integers(0, 60), st.integers(0, 30), st.integers(7, 8))
NAMES = ("nvjet_gemm", "flash_fwd", "ncclDevKernel", "Memcpy HtoD", "something")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(STEP, min_size=1, max_size=12))
def test_the_parts_of_every_step_sum_to_its_length_exactly(
    tmp_path: Path, drawn: list[tuple[int, int, int, int]]
) -> None:
    at, events = 0, []
    for row, (length, us, late, stream) in enumerate(drawn):
        events += [*decode_step(at, length), kernel(at + late, us, NAMES[row % 5], stream=stream, correlation=row + 1)]
        events += [launch(max(0, at - 5), correlation=row + 1)] * (row % 2)
        at += length + late

    summary = shown(load(tmp_path, events))

    for step in summary.steps:
        parts = (step.compute_s, step.exposed_communication_s, step.exposed_copy_s, step.idle_s)
        assert round(step.duration_s * 1e9) == sum(round(part * 1e9) for part in parts)
        assert 0 <= step.gap_s <= step.idle_s
    for group in summary.groups:
        assert sum(group.idle.values()) == pytest.approx(
            sum(step.idle_s for row, step in enumerate(summary.steps) if row >= summary.warm_up), abs=1e-12
        )


def test_what_no_mark_names_has_no_batch(tmp_path: Path) -> None:
    steps = found(load(tmp_path, decode_step(0, 50), kernel(0, 50)))

    summary = summarise(
        replace(steps, unnamed=("step",), tokens=np.array([np.nan])),
        dict.fromkeys(("compute", "exposed_communication", "exposed_copy"), (steps.start_ns, steps.end_ns - 1)),
        {},
    )

    assert (None, None) == (summary.steps[0].batch, summary.steps[0].tokens)
    assert (None, None, None) == (
        summary.groups[0].batch_p50, summary.groups[0].tokens_p50, summary.groups[0].tokens_per_s,
    )  # fmt: skip
