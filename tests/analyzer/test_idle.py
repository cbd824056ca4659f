"""Why a device stood idle: every case is a drawing of one gap of 100 µs, from 50 to 150, with one right answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analyzer.columns import Trace
from analyzer.evidence.trace import device_times, trace_evidence
from analyzer.kernels import NEITHER, families
from analyzer.rules import host_overhead
from analyzer.steps import find_steps
from analyzer.timeline import total
from tests.analyzer.traces import Json, decode_step, kernel, launch, load, mark, operator


def causes(trace: Trace) -> dict[str, int]:
    """Microseconds of the first device's idle time by cause."""
    (time, *_) = device_times(trace, families(trace), np.full(len(trace.device), NEITHER, np.int32), find_steps(trace))
    return {cause: total(covered) // 1000 for cause, covered in time.idle.items() if total(covered)}


#: A kernel before the gap, and the one that ends it.
WORK = [kernel(0, 50, correlation=1), kernel(150, 50, correlation=2)]
STEP = decode_step(0, 200)
CALLS = [launch(-20, 5, correlation=1), launch(140, 5, correlation=2)]


@pytest.mark.parametrize(
    ("doing", "expected"),
    [
        ([], {"host_unseen": 90, "host_work": 5, "device_gap": 5}),
        ([operator(50, 90)], {"host_work": 95, "device_gap": 5}),
        ([launch(60, 60, correlation=9, name="cudaStreamSynchronize")],
         {"host_sync": 60, "host_unseen": 30, "host_work": 5, "device_gap": 5}),
        ([operator(50, 90, "aten::item"), launch(60, 60, correlation=9, name="cudaStreamSynchronize")],
         {"host_sync": 90, "host_work": 5, "device_gap": 5}),
        ([operator(50, 90, "aten::empty"), launch(60, 60, correlation=9, name="cudaMalloc")],
         {"host_one_off": 60, "host_work": 35, "device_gap": 5}),
        ([launch(60, 60, correlation=9, name="cuModuleLoadData")],
         {"host_one_off": 60, "host_unseen": 30, "host_work": 5, "device_gap": 5}),
        ([launch(60, 60, correlation=9, name="cudaMemcpy")],
         {"host_sync": 60, "host_unseen": 30, "host_work": 5, "device_gap": 5}),
    ],
)  # fmt: skip
def test_a_late_launch_is_split_by_what_its_thread_did(
    tmp_path: Path, doing: list[Json], expected: dict[str, int]
) -> None:
    twin = [event for event in STEP if event["cat"] == "gpu_user_annotation"]

    assert expected == causes(load(tmp_path, twin, CALLS, WORK, doing))


def test_time_inside_the_engines_step_is_its_python(tmp_path: Path) -> None:
    assert {"host_work": 95, "device_gap": 5} == causes(load(tmp_path, STEP, CALLS, WORK))


def test_a_range_that_is_no_step_says_nothing_of_its_thread(tmp_path: Path) -> None:
    twin = [event for event in STEP if event["cat"] == "gpu_user_annotation"]
    around = mark(-30, 300, "generate")[0]

    assert {"host_unseen": 90, "host_work": 5, "device_gap": 5} == causes(load(tmp_path, twin, CALLS, WORK, around))


def test_what_another_thread_did_is_no_matter(tmp_path: Path) -> None:
    twin = [event for event in STEP if event["cat"] == "gpu_user_annotation"]
    other = operator(50, 90) | {"tid": 777}

    assert {"host_unseen": 90, "host_work": 5, "device_gap": 5} == causes(load(tmp_path, twin, CALLS, WORK, other))


def test_a_replay_under_way_is_the_devices_though_its_launch_has_not_returned(tmp_path: Path) -> None:
    # GIVEN two nodes of one replay, whose launching call returns after the second began
    graph = [kernel(0, 50, correlation=1), kernel(150, 50, correlation=1)]

    assert {"device_graph": 100} == causes(
        load(tmp_path, launch(-20, 400, correlation=1, name="cudaGraphLaunch"), graph)
    )


def test_a_replay_is_known_without_any_call_of_the_host(tmp_path: Path) -> None:
    graph = [kernel(0, 50, correlation=1), kernel(150, 50, correlation=1), kernel(210, 5, correlation=2)]

    assert {"device_graph": 100, "unknown_launch": 10} == causes(load(tmp_path, graph))


@pytest.mark.parametrize(("starts", "cause"), [(155, "device_gap"), (160, "device_unknown")])
def test_a_device_that_takes_longer_than_a_launch_does_has_an_unknown_cause(
    tmp_path: Path, starts: int, cause: str
) -> None:
    late = kernel(starts, 40, correlation=2)

    found = causes(load(tmp_path, decode_step(0, 195), CALLS, kernel(0, 50, correlation=1), late))

    assert {"host_work": 95, cause: starts - 145} == found


WAIT = launch(130, 2, correlation=9, name="cudaStreamWaitEvent")


def test_work_behind_an_event_waits_for_what_it_depends_on(tmp_path: Path) -> None:
    copy = kernel(190, 5, stream=13, correlation=2)

    found = causes(load(tmp_path, decode_step(0, 195), CALLS, WAIT, kernel(0, 50, correlation=1), copy))

    assert {"host_work": 95, "device_dependency": 45} == found


@pytest.mark.parametrize(("stream", "cause"), [(13, "device_dependency"), (7, "device_unknown")])
def test_a_wait_that_was_recorded_with_its_stream_holds_only_that_stream(
    tmp_path: Path, stream: int, cause: str
) -> None:
    record = kernel(130, 2, "Stream Wait Event", stream=stream, correlation=9) | {"cat": "cuda_sync"}
    copy = kernel(190, 5, stream=13, correlation=2)

    found = causes(load(tmp_path, decode_step(0, 195), CALLS, WAIT, record, kernel(0, 50, correlation=1), copy))

    assert {"host_work": 95, cause: 45} == found


def test_a_wait_before_an_earlier_launch_is_that_launchs(tmp_path: Path) -> None:
    between = [launch(134, 1, correlation=5), kernel(40, 5, correlation=5)]

    found = causes(load(tmp_path, decode_step(0, 200), CALLS, WAIT, between, WORK))

    assert {"host_work": 95, "device_gap": 5} == found


def test_a_pause_before_requests_that_were_just_accepted_is_nobodys(tmp_path: Path) -> None:
    prefill = mark(150, 50, "execute_context_1(128)_generation_0(0)")

    assert {"unknown_request": 95, "device_gap": 5} == causes(load(tmp_path, decode_step(0, 50), prefill, CALLS, WORK))


def test_a_pause_without_marks_may_be_anything(tmp_path: Path) -> None:
    assert {"unknown_demand": 95, "device_gap": 5} == causes(load(tmp_path, CALLS, WORK))


def test_a_trace_of_the_gpu_alone_says_that_it_lacks_the_host(tmp_path: Path) -> None:
    trace = load(tmp_path, decode_step(0, 200), WORK)
    times = device_times(trace, families(trace), np.full(2, NEITHER, np.int32), find_steps(trace))

    evidence = trace_evidence(trace, times, find_steps(trace), None)

    assert {"unknown_launch": 100} == causes(trace)
    assert "no calls of the host" in evidence.missing["idle_unknown"]


def test_the_same_stream_on_another_device_is_another_stream(tmp_path: Path) -> None:
    trace = load(tmp_path, STEP, CALLS, WORK, kernel(50, 100, device=1))

    assert {"host_work": 95, "device_gap": 5} == causes(trace)


def test_host_overhead_says_what_the_host_did_meanwhile(tmp_path: Path) -> None:
    wait = launch(60, 60, correlation=9, name="cudaStreamSynchronize")
    trace = load(tmp_path, STEP, CALLS, WORK, wait)
    steps = find_steps(trace)
    times = device_times(trace, families(trace), np.full(2, NEITHER, np.int32), steps)

    finding = host_overhead.check(trace_evidence(trace, times, steps, None))

    assert finding is not None
    meanwhile = {fact.measure: fact.value for fact in finding.evidence if fact.measure.startswith("of that")}
    assert {"of that, the host waited for the GPU": 60 / 95, "of that, the host worked": 35 / 95} == pytest.approx(
        meanwhile
    )


def test_causes_hold_for_columns_without_any_name(tmp_path: Path) -> None:
    trace = load(tmp_path, CALLS, WORK)
    hostless = replace(trace, host=trace.host.take(np.zeros(len(trace.host), bool)))

    assert {"unknown_launch": 100} == causes(hostless)
