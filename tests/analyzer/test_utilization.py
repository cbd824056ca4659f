import numpy as np
import pytest

from analyzer.columns import RunData
from analyzer.evidence.run import run_evidence
from analyzer.pipeline import conclude
from analyzer.quality import run_quality
from analyzer.schema import Budget
from analyzer.utilization import SHOWN, run_budget
from collector.catalogue import CATALOGUE
from tests.analyzer.runs import capture, gpu, idle_gpu, phase, run, serving, spans

NAN = float("nan")


def budget(data: RunData, *edges_s: float) -> Budget:
    windows = spans(*(edges_s or (0, 10)))
    return run_budget(data, run_evidence(data, None, *windows), *windows)


def test_what_is_shown_is_measured() -> None:
    assert set(SHOWN) <= CATALOGUE.keys()
    assert len(SHOWN) == len(set(SHOWN))


def test_means_are_of_each_window() -> None:
    data = run(gpu(power_watts=np.where(np.arange(101) < 50, 100.0, 300.0)))

    first, second = budget(data, 0, 5, 10).windows

    assert (100.0, 300.0) == (first.means["power_watts"], second.means["power_watts"])


def test_every_window_has_every_quantity_and_none_where_it_was_not_read() -> None:
    found = budget(run(gpu(5, sm_active_ratio=NAN)), 0, 6, 10)

    for means in (found.windows[0].means, found.windows[1].means, found.gpus[0].means):
        assert set(SHOWN) == means.keys()
        assert means["sm_active_ratio"] is None
        assert means["pcie_rx_bytes_per_s"] is None
    assert {None} == set(found.windows[1].means.values())


def test_a_clock_event_is_the_share_of_readings_that_had_it() -> None:
    (use,) = budget(run(gpu(clock_event_sw_power_cap=np.arange(101) % 4 == 0))).gpus

    assert 26 / 101 == pytest.approx(use.means["clock_event_sw_power_cap"])


def test_captures_are_left_out_of_the_means() -> None:
    stalled = np.where((np.arange(101) >= 20) & (np.arange(101) <= 40), 0.0, 0.8)
    data = run(gpu(sm_active_ratio=stalled), events=[capture(2, 4), phase(1, 5)])

    found = budget(data)

    means = (found.gpus[0].means, found.phases[0].means, found.windows[0].means)
    assert [0.8] * 3 == pytest.approx([use["sm_active_ratio"] for use in means])
    assert 7.5 == pytest.approx(found.span_s)


def test_a_phase_inside_another_takes_nothing_from_it() -> None:
    data = run(gpu(power_watts=np.arange(101.0)), events=[phase(0, 10, "all"), phase(2, 4, "inner")])

    outer, inner = budget(data).phases

    assert (49.5, 29.5) == pytest.approx((outer.means["power_watts"], inner.means["power_watts"]))


def test_several_gpus_are_shown_each_and_averaged_by_window() -> None:
    found = budget(run(gpu(power_watts=600.0), idle_gpu(subject="gpu:1", power_watts=100.0)))

    assert [600.0, 100.0] == [use.means["power_watts"] for use in found.gpus]
    assert 350.0 == found.windows[0].means["power_watts"]


def test_gpus_keep_their_own_numbers_and_come_in_their_order() -> None:
    data = run(*(gpu(subject=f"gpu:{index}", power_watts=float(index)) for index in (10, 2, 3)))

    found = budget(data).gpus

    assert [(2, 2.0), (3, 3.0), (10, 10.0)] == [(use.device, use.means["power_watts"]) for use in found]


@pytest.mark.parametrize("odd", ["card", "gpu:", "gpu:-1", "gpu:0/mig:1", "gpu:" + "9" * 5000, "gpu:٣"])
def test_a_gpu_with_an_odd_name_is_still_shown(odd: str) -> None:
    assert 1 == len(budget(run(gpu(subject=odd))).gpus)


def test_busy_and_idle_time_are_the_observed_time() -> None:
    graphics = np.where(np.arange(101) % 10 < 3, 1.0, 0.0)

    found = budget(run(gpu(graphics_active_ratio=graphics), serving(requests_running=0.0)))

    assert (10.0, 3.0, 7.0) == pytest.approx((found.span_s, found.busy_s, found.idle_s))


def test_a_run_without_gpus_has_an_empty_budget() -> None:
    found = budget(run(serving()))

    assert (0.0, 0.0, 0.0, ()) == (found.span_s, found.busy_s, found.idle_s, found.gpus)


# ------------------------------------------------------------------------------------------------------ quality


def test_coverage_is_the_share_of_the_run_that_the_gpu_was_read() -> None:
    assert 0.4 == run_quality(run(gpu(4), serving(10)), 4.0, 10.0).coverage
    assert 0.0 == run_quality(run(serving(10)), 0.0, 10.0).coverage


def test_captures_are_not_missing_and_are_told() -> None:
    data = run(gpu(10), events=[capture(2, 4), capture(3, 5), capture(9, 99), capture(8, 1)])

    quality = conclude(data).quality

    assert 1.0 == pytest.approx(quality.coverage)
    assert quality.notes[0].startswith("4.5 s of profiler captures and their wake are left out")


def test_a_run_that_is_all_capture_has_no_coverage() -> None:
    assert 0.0 == conclude(run(gpu(10), events=[capture(-1, 11)])).quality.coverage


def test_what_could_not_be_read_is_told_with_its_reason() -> None:
    quality = conclude(run(absences={"nvml/gpu:0/dram_active_ratio": "GPM needs Hopper or newer"})).quality

    assert ("nvml/gpu:0/dram_active_ratio: GPM needs Hopper or newer",) == quality.notes
