import math
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.columns import RunData
from analyzer.evidence import PARTS, CannotTell, Evidence
from analyzer.evidence.run import run_evidence
from analyzer.roofline import DEFAULT_REACH, Hardware, hardware
from analyzer.verdict import judge
from tests.analyzer.runs import capture, gpu, idle_gpu, run, scrape, serving, spans

NAN = float("nan")
#: A GPU whose counters reach 100 %, so that a test's ratios are its roofs' ratios.
IDEAL = Hardware(
    name="ideal",
    memory_bytes=80e9,
    tensor_flops={"bf16": 1e15},
    vector_flops=1e14,
    dram_bytes_per_s=1e12,
    source="none",
    tensor_active_reach=1.0,
    dram_active_reach=1.0,
)
WHOLE = (0, 10)


def evidence(data: RunData, *edges_s: float, device: Hardware | None = IDEAL) -> Evidence:
    return run_evidence(data, device, *spans(*(edges_s or WHOLE)))


def parts(found: Evidence, window: int = 0) -> dict[str, float]:
    """What a window's time went to, in seconds; empty parts are left out."""
    seconds = {name: round(float(values[window]), 6) for name, values in found.parts.items()}
    return {name: value for name, value in seconds.items() if value}


def busy_gpu(seconds: float = 10, *, tensor: Any, dram: Any, **rest: Any) -> pd.DataFrame:
    return gpu(seconds, tensor_active_ratio=tensor, dram_active_ratio=dram, **rest)


# -------------------------------------------------------------------------------------------------- a partition

RATIO = st.sampled_from([NAN, 0.0, 0.001, 0.2, 0.5, 0.9, 1.0, 1.3])


@given(st.data())
def test_parts_add_up_to_the_observed_time_whatever_was_read(draw: st.DataObject) -> None:
    count = draw.draw(st.integers(1, 40))
    read: dict[str, Any] = {
        name: draw.draw(st.lists(RATIO, min_size=count, max_size=count))
        for name in ("graphics_active_ratio", "gpu_utilization_ratio", "tensor_active_ratio", "dram_active_ratio")
    }
    running = draw.draw(st.lists(st.sampled_from([NAN, 0.0, 0.4, 7.0]), min_size=5, max_size=5))
    data = run(gpu((count - 1) / 10, **read), serving(4, requests_running=running))

    found = evidence(data, 0, 1, 2, 4)

    # A figure of the graphics activity reaches back to the one before it, as far as that usually is.
    figures = np.flatnonzero(np.isfinite(read["graphics_active_ratio"]))
    usual = np.median(np.diff(figures)) if len(figures) > 1 else 0
    reached = [any(k == figure or k <= figure < k + usual for figure in figures) for k in range(count)]
    busy = np.where(reached, 0.0, read["gpu_utilization_ratio"])
    # The reading at 0.1 · k stands for the tenth of a second before it; the one at 0 for the time before the run.
    observed = [sum(0.1 for k in range(1, count) if low < k <= high and np.isfinite(busy[k])) for low, high in TENTHS]
    assert set(PARTS) == set(found.parts)
    assert observed == pytest.approx(found.observed_s.tolist())
    assert all((values >= 0).all() for values in found.parts.values())


TENTHS = ((0, 10), (10, 20), (20, 40))


@given(st.lists(st.tuples(RATIO, RATIO, RATIO, st.sampled_from([NAN, 0.0, 0.4, 7.0])), min_size=2, max_size=12))
def test_shares_add_up_to_one_whatever_was_read(rows: list[tuple[float, float, float, float]]) -> None:
    busy, tensor, dram, running = (list(column) for column in zip(*rows, strict=True))
    seconds = len(rows) - 1
    data = run(
        busy_gpu(seconds, hz=1, graphics_active_ratio=busy, gpu_utilization_ratio=NAN, tensor=tensor, dram=dram),
        serving(seconds, requests_running=running, front_end_cpu_seconds_total=np.arange(len(rows)) * 0.9),
    )
    found = evidence(data, 0, seconds / 2, seconds)

    verdict = judge(found, [("all", np.ones(2, bool))])

    observed = [*found.observed_s, found.observed_s.sum(), found.observed_s.sum()]
    shares = [
        *(window.shares for window in (*verdict.windows, *verdict.phases)),
        {s.bottleneck: s.share for s in verdict.shares},
    ]
    for seen, share in zip(observed, shares, strict=True):
        assert (1.0 if seen else 0.0) == pytest.approx(sum(share.values()))


def test_two_gpus_are_averaged() -> None:
    data = run(busy_gpu(tensor=0.1, dram=0.9), idle_gpu(subject="gpu:1"), serving(requests_running=0.0))

    assert {"memory_bound": 5.0, "idle_no_demand": 5.0} == parts(evidence(data))


def test_a_gpu_that_was_not_read_is_not_idle() -> None:
    data = run(busy_gpu(tensor=0.1, dram=0.9), idle_gpu(5, subject="gpu:1"), serving())

    assert {"memory_bound": 2.5} == parts(evidence(data, 0, 5, 10), window=1)


# ------------------------------------------------------------------------------------------- which time counts


def test_captures_are_left_out() -> None:
    data = run(busy_gpu(tensor=0.1, dram=0.9), serving(), events=[capture(2, 4), capture(3, 5)])

    assert {"memory_bound": 6.5} == parts(evidence(data))


def test_the_stall_of_a_capture_and_of_the_half_second_after_it_is_no_evidence() -> None:
    stalled = np.where((np.arange(101) > 20) & (np.arange(101) <= 45), 0.0, 1.0)
    data = run(busy_gpu(tensor=0.1, dram=0.9, graphics_active_ratio=stalled), serving(), events=[capture(2, 4)])

    found = evidence(data)

    assert {"memory_bound": 7.5} == parts(found)
    assert 0.9 == pytest.approx(found.mean("memory_roof_ratio", found.observed_s))


def test_a_gap_is_not_observed_time() -> None:
    data = run(busy_gpu(2, tensor=0.1, dram=0.9), busy_gpu(2, at_s=8, tensor=0.1, dram=0.9), serving())

    assert {"memory_bound": 2.0 + 0.3 + 2.0} == parts(evidence(data))


def test_a_reading_stands_for_the_time_before_it() -> None:
    """One window a second, one reading a second: each falls into the window it measured, not the one it starts."""
    dram = [0.0, 1.0, 0.0, 0.0]
    data = run(busy_gpu(3, hz=1, graphics_active_ratio=dram, tensor=0.0, dram=dram), serving())

    found = evidence(data, 0, 1, 2, 3)

    assert [1.0, 0.0, 0.0] == found.parts["memory_bound"].tolist()


def test_one_reading_observes_nothing() -> None:
    assert {} == parts(evidence(run(gpu(0), serving())))


def test_no_reading_is_no_idle_gpu() -> None:
    found = evidence(run(serving()))

    assert {} == parts(found)
    assert "no GPU samples in this run" == found.missing["gpu"]


def test_the_reason_why_the_gpu_could_not_be_read_is_told() -> None:
    absent = gpu(graphics_active_ratio=NAN, gpu_utilization_ratio=NAN)
    data = run(absent, serving(), absences={"nvml/gpu:0/gpu_utilization_ratio": "driver/library version mismatch"})

    found = evidence(data)

    assert {} == parts(found)
    assert "driver/library version mismatch" == judge(found).abstained


# -------------------------------------------------------------------------------------------------- busy time


@pytest.mark.parametrize(
    ("tensor", "dram", "memory_share"),
    [
        (0.2, 0.9, 1.0),
        (0.45, 0.9, 1.0),
        (0.9 / math.sqrt(2), 0.9, 0.75),
        (0.9, 0.9, 0.5),
        (0.9, 0.9 / math.sqrt(2), 0.25),
        (0.9, 0.45, 0.0),
        (0.9, 0.0, 0.0),
        (0.0, 0.9, 1.0),
    ],
)
def test_busy_time_is_shared_by_how_much_nearer_one_roof_is(tensor: float, dram: float, memory_share: float) -> None:
    found = parts(evidence(run(busy_gpu(tensor=tensor, dram=dram), serving())))

    assert 10 * memory_share == pytest.approx(found.get("memory_bound", 0.0))
    assert 10 * (1 - memory_share) == pytest.approx(found.get("compute_bound", 0.0), abs=1e-6)


def test_only_the_busy_part_of_a_reading_is_held_against_the_roofs() -> None:
    """Half idle at half the activity is as near to the roof as busy at all of it."""
    data = run(busy_gpu(graphics_active_ratio=0.5, tensor=0.05, dram=0.45), serving(requests_running=0.0))

    found = evidence(data)

    assert {"memory_bound": 5.0, "idle_no_demand": 5.0} == parts(found)
    assert 0.9 == pytest.approx(found.mean("memory_roof_ratio", found.observed_s))


@pytest.mark.parametrize(("dram", "part"), [(0.39, "busy_other"), (0.41, "memory_bound")])
def test_work_near_neither_roof_has_none(dram: float, part: str) -> None:
    assert {part: 10.0} == parts(evidence(run(busy_gpu(tensor=0.1, dram=dram), serving())))


def test_the_reach_of_a_known_gpu_moves_its_roofs() -> None:
    data = run(busy_gpu(tensor=0.1, dram=0.36), serving())

    reach_88_percent = evidence(data, device=hardware("NVIDIA H200"))

    assert ({"memory_bound": 10.0}, {"busy_other": 10.0}) == (parts(reach_88_percent), parts(evidence(data)))


def test_an_unknown_gpu_is_held_against_what_gpus_reach() -> None:
    found = evidence(run(busy_gpu(tensor=0.1, dram=0.4), serving()), device=None)

    assert 0.4 / DEFAULT_REACH == pytest.approx(found.mean("memory_roof_ratio", found.observed_s))


@pytest.mark.parametrize("other", ["NVIDIA GH200 480GB", "NVIDIA GB200", "NVIDIA H20", "Tesla T4", ""])
def test_a_gpu_is_not_known_by_a_likeness_of_names(other: str) -> None:
    assert hardware(other) is None


@pytest.mark.parametrize(("tensor", "dram"), [(NAN, 0.9), (0.9, NAN), (NAN, NAN), (0.0, 0.0)])
def test_a_counter_that_shows_nothing_is_no_evidence_of_a_roof(tensor: float, dram: float) -> None:
    assert {"busy_other": 10.0} == parts(evidence(run(busy_gpu(tensor=tensor, dram=dram), serving())))


def test_a_gpu_without_gpm_is_busy_with_something() -> None:
    counters: dict[str, Any] = dict.fromkeys(("graphics_active_ratio", "tensor_active_ratio", "dram_active_ratio"), NAN)
    reasons = {
        "nvml/gpu:0/energy_joules_total": "not asked",
        "nvml/gpu:0/dram_active_ratio": "GPM needs Hopper or newer",
    }
    data = run(gpu(gpu_utilization_ratio=0.75, **counters), serving(requests_running=0.0), absences=reasons)

    found = evidence(data)

    assert {"busy_other": 7.5, "idle_no_demand": 2.5} == parts(found)
    with pytest.raises(CannotTell, match="GPM needs Hopper or newer"):
        found.signal("compute_roof_ratio")


def test_where_gpm_fails_for_a_while_utilization_stands_in() -> None:
    graphics = np.where(np.arange(101) > 50, NAN, 1.0)
    data = run(busy_gpu(graphics_active_ratio=graphics, gpu_utilization_ratio=0.0, tensor=0.1, dram=0.9), serving())

    assert {"memory_bound": 5.0, "idle_starved": 5.0} == parts(evidence(data))


# -------------------------------------------------------------------------------------------------- idle time


@pytest.mark.parametrize(
    ("running", "waiting", "expected"),
    [
        (0.0, 0.0, {"idle_no_demand": 10.0}),
        (5.0, 0.0, {"idle_starved": 10.0}),
        (0.0, 3.0, {"idle_starved": 10.0}),
        (NAN, 0.0, {"idle_unknown": 10.0}),
    ],
)
def test_idle_time_is_nobody_s_only_while_the_server_is_empty(
    running: float, waiting: float, expected: dict[str, float]
) -> None:
    data = run(idle_gpu(), serving(requests_running=running, requests_waiting=waiting))

    assert expected == parts(evidence(data))


def test_without_serving_samples_the_cause_of_idle_time_is_unknown() -> None:
    found = evidence(run(idle_gpu()))

    assert {"idle_unknown": 10.0} == parts(found)
    with pytest.raises(CannotTell, match="no serving samples"):
        found.signal("requests_running")
    assert judge(found).abstained


def test_a_window_without_a_scrape_is_of_unknown_cause() -> None:
    found = evidence(run(idle_gpu(), serving(4, requests_running=0.0)), 0, 5, 10)

    assert [{"idle_no_demand": 5.0}, {"idle_unknown": 5.0}] == [parts(found, 0), parts(found, 1)]


def test_a_server_that_is_empty_half_of_the_time_explains_half_of_the_window() -> None:
    graphics = np.where(np.arange(101) % 10 < 3, 1.0, 0.0)
    data = run(
        busy_gpu(graphics_active_ratio=graphics, gpu_utilization_ratio=graphics, tensor=0.1, dram=0.9),
        serving(requests_running=[4, 0] * 5 + [4]),
    )

    assert {"memory_bound": 3.0, "idle_no_demand": 5.0, "idle_starved": 2.0} == parts(evidence(data))


def test_an_empty_server_explains_no_more_than_the_idle_time() -> None:
    data = run(busy_gpu(graphics_active_ratio=0.9, tensor=0.1, dram=0.9), serving(requests_running=0.0))

    assert {"memory_bound": 9.0, "idle_no_demand": 1.0} == parts(evidence(data))


def test_the_server_is_empty_only_while_all_engines_are() -> None:
    data = run(
        idle_gpu(),
        serving(requests_running=[0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0]),
        serving(subject="engine:1", requests_running=[0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 0]),
    )

    assert {"idle_no_demand": 6.0, "idle_starved": 4.0} == parts(evidence(data))


def test_an_engine_that_fell_silent_may_be_busy() -> None:
    data = run(idle_gpu(), serving(requests_running=0.0), serving(4, subject="engine:1", requests_running=0.0))

    found = evidence(data, 0, 5, 10)

    assert [{"idle_no_demand": 5.0}, {"idle_unknown": 5.0}] == [parts(found, 0), parts(found, 1)]


def test_engines_that_are_scraped_in_turns_are_added_up() -> None:
    data = run(
        idle_gpu(),
        serving(requests_running=0.0),
        serving(10, at_s=0.5, subject="engine:1", requests_running=3.0),
    )

    assert {"idle_starved": 9.0} == parts(evidence(data, 1, 10))


def test_the_mean_of_a_roll_up_tells_the_least_time_that_the_server_was_empty() -> None:
    data = run(idle_gpu(), serving(requests_running=0.25))

    assert {"idle_no_demand": 7.5, "idle_starved": 2.5} == parts(evidence(data))


# --------------------------------------------------------------------------------------------- serving signals


def test_signals_are_the_means_of_each_window() -> None:
    data = run(gpu(power_watts=np.where(np.arange(101) <= 50, 100.0, 300.0)), serving(requests_waiting=np.arange(11)))

    found = evidence(data, 0, 5, 10)

    assert [100.0, 300.0] == pytest.approx(found.signal("power_watts").tolist())
    assert [2.0, 7.0] == found.signal("requests_waiting").tolist()


def test_the_front_end_s_cores_are_its_cpu_time_a_second() -> None:
    data = run(gpu(), serving(front_end_cpu_seconds_total=100 + np.arange(11) * 0.9))

    assert [0.9, 0.9] == pytest.approx(evidence(data, 0, 3, 10).signal("front_end_cores").tolist())


def test_a_front_end_that_was_not_scraped_is_not_at_rest() -> None:
    data = run(gpu(), serving(4, front_end_cpu_seconds_total=np.arange(5)))

    cores = evidence(data, 0, 4, 10).signal("front_end_cores")

    assert [1.0, True] == [cores[0], math.isnan(cores[1])]


def test_a_step_s_tokens_are_their_mean() -> None:
    scrapes = [scrape(0, (0, 0), quantity="step_tokens"), scrape(4, (8, 10), quantity="step_tokens", sum=2560.0)]

    tokens = evidence(run(gpu(), serving(), histograms=scrapes), 0, 5, 10).signal("step_tokens")

    assert [256.0, True] == [tokens[0], math.isnan(tokens[1])]


@pytest.mark.parametrize(
    ("signal", "quantity"),
    [("front_end_cores", "front_end_cpu_seconds_total"), ("kv_cache_usage_ratio", "kv_cache_usage_ratio")],
)
def test_why_a_signal_is_missing_is_told_by_its_own_quantity(signal: str, quantity: str) -> None:
    reasons = {
        "serving/engine:0/aaa": "another story",
        f"serving/engine:0/{quantity}": "several processes share a page",
    }
    found = evidence(run(gpu(), serving(), absences=reasons))

    with pytest.raises(CannotTell, match="several processes share a page"):
        found.signal(signal)


def test_windows_that_no_reading_falls_into_have_no_signals() -> None:
    found = evidence(run(gpu(2), serving(2)), 0, 3, 10)

    assert {} == parts(found, 1)
    assert all(math.isnan(values[1]) for values in found.signals.values())


def test_a_run_without_windows_has_empty_evidence() -> None:
    found = evidence(run(), 5)

    assert 0 == len(found.observed_s)
    assert judge(found).abstained


def test_evidence_of_a_narrow_window_is_not_lost_in_rounding() -> None:
    """Windows of the same width as a reading, at an instant that no float64 holds."""
    data = run(busy_gpu(1, tensor=0.1, dram=0.9), serving(1))

    found = evidence(data, *(tenth / 10 for tenth in range(11)))

    assert [0.1] * 10 == pytest.approx(found.parts["memory_bound"].tolist())


def test_samples_of_another_source_change_nothing() -> None:
    data = run()
    crowded = replace(data, samples=dict(data.samples) | {"host": data.samples["nvml"]})

    assert parts(evidence(data)) == parts(evidence(crowded))


def test_a_process_on_a_gpu_is_no_second_gpu() -> None:
    # GIVEN one GPU, and a process on it that has samples of its own
    alone = busy_gpu(tensor=0.9, dram=0.1)
    process = alone[["t_ns"]].assign(subject="gpu:0/pid:123", process_gpu_memory_bytes=1e9)

    assert parts(evidence(run(alone, process))) == parts(evidence(run(alone)))
