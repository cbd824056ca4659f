"""Where a device's time went: every case is a drawing of a few kernels with one right answer."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analyzer.columns import Trace
from analyzer.evidence import Evidence
from analyzer.evidence.trace import DeviceTime, device_times, trace_evidence
from analyzer.kernels import families, roofs
from analyzer.roofline import hardware
from analyzer.steps import find_steps
from analyzer.timeline import total
from tests.analyzer.traces import decode_step, kernel, launch, load, mark, operator


def times(trace: Trace) -> tuple[DeviceTime, ...]:
    steps, device = find_steps(trace), hardware("NVIDIA H200")
    family_of = families(trace)
    return device_times(trace, family_of, roofs(trace, family_of, steps, device), steps)


def evidence(trace: Trace) -> Evidence:
    return trace_evidence(trace, times(trace), find_steps(trace), hardware("NVIDIA H200"))


def microseconds(evidence: Evidence, part: str) -> int:
    return round(float(evidence.parts[part].sum()) * 1e6)


def test_two_streams_that_alternate_leave_no_idle_time(tmp_path: Path) -> None:
    trace = load(tmp_path, [kernel(50 * row, 50, stream=7 + row % 2) for row in range(8)])

    assert [time.budget().idle_s for time in times(trace)] == [0]


def test_two_devices_with_the_same_stream_are_two_devices(tmp_path: Path) -> None:
    trace = load(tmp_path, [kernel(50 * row, 50, device=device) for row in range(4) for device in (0, 1)])

    assert [(time.device, time.budget().idle_s) for time in times(trace)] == [(0, 0), (1, 0)]


def test_gaps_between_the_nodes_of_one_graph_belong_to_the_device(tmp_path: Path) -> None:
    # GIVEN one graph launch and four nodes of 20 µs, one every 30 µs
    trace = load(
        tmp_path,
        launch(0, 5, correlation=1, name="cudaGraphLaunch"),
        [kernel(10 + 30 * row, 20, correlation=1) for row in range(4)],
    )

    (time,) = times(trace)

    assert (total(time.idle_device), total(time.idle_starved), total(time.idle_unknown)) == (30_000, 0, 0)


def test_a_late_launch_inside_a_step_starves_the_device(tmp_path: Path) -> None:
    # GIVEN a kernel that ends at 50, and a launch that returns 100 µs later, within one step
    trace = load(
        tmp_path,
        decode_step(0, 300),
        launch(-20, 5, correlation=1),
        kernel(0, 50, correlation=1),
        launch(145, 5, correlation=2),
        kernel(153, 50, correlation=2),
    )

    (time,) = times(trace)

    assert (total(time.idle_starved), total(time.idle_device)) == (100_000, 3_000)


def test_a_launch_queued_before_the_gap_does_not_starve_anything(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        decode_step(0, 300),
        launch(-20, 5, correlation=1),
        launch(-10, 5, correlation=2),
        kernel(0, 50, correlation=1),
        kernel(60, 50, correlation=2),
    )

    (time,) = times(trace)

    assert (total(time.idle_starved), total(time.idle_device)) == (0, 10_000)


def test_idle_before_a_new_request_is_nobodys_fault_that_a_trace_could_show(tmp_path: Path) -> None:
    # GIVEN a pause between a decode step and a step that only takes in a new request
    trace = load(
        tmp_path,
        decode_step(0, 50),
        kernel(0, 50, correlation=1),
        mark(1000, 50, "execute_context_1(128)_generation_0(0)"),
        launch(990, 5, correlation=2),
        kernel(1000, 50, correlation=2),
    )

    (time,) = times(trace)

    assert (total(time.idle_unknown), total(time.idle_starved)) == (945_000, 0)


def test_idle_before_requests_that_go_on_is_starvation(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        decode_step(0, 50),
        kernel(0, 50, correlation=1),
        decode_step(1000, 50),
        launch(990, 5, correlation=2),
        kernel(1000, 50, correlation=2),
    )

    (time,) = times(trace)

    assert (total(time.idle_unknown), total(time.idle_starved)) == (0, 945_000)


def test_a_host_that_works_through_a_gap_starves_the_device_even_without_steps(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        kernel(0, 50, correlation=1),
        operator(60, 80, "aten::conv2d"),
        launch(140, 10, correlation=2),
        kernel(150, 50, correlation=2),
    )

    (time,) = times(trace)

    assert (total(time.idle_starved), total(time.idle_unknown)) == (100_000, 0)


def test_a_host_that_only_waits_for_the_device_is_not_at_work(tmp_path: Path) -> None:
    trace = load(
        tmp_path,
        kernel(0, 50, correlation=1),
        launch(50, 90, correlation=9, name="cudaStreamSynchronize"),
        launch(145, 5, correlation=2),
        kernel(150, 50, correlation=2),
    )

    (time,) = times(trace)

    assert (total(time.idle_starved), total(time.idle_unknown)) == (0, 100_000)


def test_a_kernel_whose_launch_was_not_recorded_leaves_its_gap_unknown(tmp_path: Path) -> None:
    trace = load(tmp_path, decode_step(0, 200), kernel(0, 50, correlation=1), kernel(150, 50, correlation=2))

    (time,) = times(trace)

    assert (total(time.idle_unknown), total(time.idle_starved)) == (100_000, 0)


def test_copies_and_collectives_count_only_where_no_computation_hides_them(tmp_path: Path) -> None:
    copy = kernel(40, 30, stream=8, name="Memcpy HtoD (Pageable -> Device)") | {"cat": "gpu_memcpy"}
    trace = load(
        tmp_path, kernel(0, 50), copy, kernel(60, 20, stream=9, name="ncclDevKernel_AllReduce"), kernel(90, 10)
    )

    budget = times(trace)[0].budget()

    assert (60e-6, 20e-6, 10e-6) == (budget.compute_s, budget.exposed_communication_s, budget.exposed_copy_s)


@pytest.mark.parametrize(("tokens", "part"), [(1, "memory_bound"), (205, "memory_bound"), (207, "compute_bound")])
def test_a_matrix_product_lies_under_the_roof_of_its_steps_tokens(tmp_path: Path, tokens: int, part: str) -> None:
    trace = load(tmp_path, decode_step(0, 50, tokens), kernel(0, 50))

    assert microseconds(evidence(trace), part) == 50


def test_a_recorded_shape_outweighs_the_tokens_of_the_step(tmp_path: Path) -> None:
    # GIVEN a step of 8192 tokens in which the last product only sees four rows
    shape = {"External id": 5, "Input Dims": [[4, 4096], [4096, 128_256]], "Input type": ["c10::BFloat16"] * 2}
    trace = load(
        tmp_path,
        mark(0, 100, "execute_context_4(8192)_generation_0(0)"),
        operator(0, 5, args=shape),
        kernel(0, 90),
        kernel(90, 10, args={"External id": 5}),
    )

    found = evidence(trace)

    assert (90, 10) == (microseconds(found, "compute_bound"), microseconds(found, "memory_bound"))


def test_the_first_steps_of_a_capture_are_left_out_where_enough_remain(tmp_path: Path) -> None:
    trace = load(tmp_path, *[[*decode_step(100 * row, 50), kernel(100 * row, 50, correlation=1)] for row in range(6)])

    assert len(evidence(trace).start_ns) == 4


SPAN = st.tuples(st.integers(0, 400), st.integers(1, 60), st.sampled_from((7, 8)), st.sampled_from((0, 1)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(SPAN, min_size=1, max_size=20))
def test_the_budget_of_any_trace_sums_to_its_span_exactly(
    tmp_path: Path, spans: list[tuple[int, int, int, int]]
) -> None:
    names = ("nvjet_gemm", "flash_fwd", "ncclDevKernel", "elementwise_kernel", "something")
    trace = load(
        tmp_path,
        [kernel(at, us, stream=stream, device=device, correlation=row + 1, name=names[row % len(names)])
         for row, (at, us, stream, device) in enumerate(spans)],
        [launch(max(0, at - 30), correlation=row + 1) for row, (at, *_) in enumerate(spans) if row % 2],
    )  # fmt: skip

    for time in times(trace):
        idle = (time.idle_starved, time.idle_device, time.idle_unknown)
        parts = (time.compute, time.exposed_communication, time.exposed_copy, *idle)
        assert time.span_ns[1] - time.span_ns[0] == sum(map(total, parts))
        assert total(time.compute) == sum(map(total, (time.compute_bound, time.memory_bound, time.busy_other)))
    found = evidence(trace)
    assert np.all(found.observed_s * 1e9 <= (found.end_ns - found.start_ns) * (1 + 1e-12))


def test_nearness_to_the_compute_roof_counts_a_product_once_however_many_kernels_it_takes(tmp_path: Path) -> None:
    # GIVEN a product that needs 1,112 µs at an H200's peak, in one kernel of 1,400 µs with a fill before it
    shape = {"External id": 5, "Input Dims": [[8192, 8192], [8192, 8192]], "Input type": ["c10::BFloat16"] * 2}
    linked = {"External id": 5}
    trace = load(
        tmp_path,
        operator(0, 5, args=shape),
        kernel(0, 1, name="Memset (Device)", args=linked) | {"cat": "gpu_memset"},
        kernel(1, 1000, args=linked),
        kernel(1001, 400, "splitKreduce_kernel", args=linked),
    )

    found = evidence(trace)

    assert found.signals["compute_roof_ratio"] == pytest.approx([1111.74 / 1400], rel=1e-4)
