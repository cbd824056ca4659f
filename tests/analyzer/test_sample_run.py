"""The recording of vLLM on an H200 against what its client saw and what was read off its raw data by hand."""

import gzip
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from analyzer.columns import RunData
from analyzer.pipeline import analyze, conclude, load
from analyzer.schema import Analysis, Cost, Latency, LatencyWindow

RUN = Path(__file__).parents[2] / "sample_traces" / "vllm_h200"
REQUESTS = Path(__file__).parent / "data" / "vllm_h200_requests.jsonl.gz"

#: Per cent, and W: means without the first two seconds of a phase and without its profiler capture.
STEADY = {
    "A0_idle": (0, 0, 0, 0, 124),
    "A1_decode_c32": (100, 77, 18, 58, 605),
    "A2_decode_c256": (65, 56, 32, 30, 483),
    "A3_prefill": (100, 98, 84, 20, 687),
    "A4_lowrate": (28, 17, 1, 16, 231),
    "A5_single": (99, 67, 3, 64, 490),
}
COLUMNS = ("gpu_utilization_ratio", "sm_active_ratio", "tensor_active_ratio", "dram_active_ratio")
#: An H200 at the first price of its kind, on-demand with a cloud.
USD_PER_HOUR = 7.91

Row: TypeAlias = Mapping[str, Any]
MEASURES: Mapping[str, Callable[[Row], float]] = {
    "ttft_s": lambda row: row["ttft"],
    "e2e_latency_s": lambda row: row["e2e"],
    "tpot_s": lambda row: (row["e2e"] - row["ttft"]) / (row["nout"] - 1),
}


@pytest.fixture(scope="module")
def data() -> RunData:
    loaded = load(RUN)
    assert isinstance(loaded, RunData)
    return loaded


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyze(RUN)


@pytest.fixture(scope="module")
def latencies(analysis: Analysis) -> Latency:
    assert analysis.latency is not None
    return analysis.latency


@pytest.fixture(scope="module")
def bill(analysis: Analysis) -> Cost:
    assert analysis.cost is not None
    return analysis.cost


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """What the client wrote down, one row a request; its phase of warm-up has a shorter name."""
    with gzip.open(REQUESTS, "rt") as file:
        found = [json.loads(line) for line in file]
    return [row | {"phase": "warm-up" if row["phase"] == "warm" else row["phase"]} for row in found]


def interpolated(values: list[float], q: float) -> float:
    """Hyndman and Fan's type 7, by the book."""
    ordered = sorted(values)
    place = (len(ordered) - 1) * q
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


# ----------------------------------------------------------------------------------------------------- latency


def test_percentiles_of_each_phase_are_the_client_s(latencies: Latency, rows: list[Row]) -> None:
    for phase in latencies.phases:
        mine = [row for row in rows if row["phase"] == phase.name and row["err"] is None]
        for measure, of in MEASURES.items():
            _agree(phase, measure, [of(row) for row in mine])


def test_percentiles_of_the_whole_run_are_the_client_s(latencies: Latency, rows: list[Row]) -> None:
    for measure, of in MEASURES.items():
        _agree(latencies.overall, measure, [of(row) for row in rows])


def _agree(window: LatencyWindow, measure: str, expected: list[float]) -> None:
    stats = window.stat(measure)
    assert (stats.n if stats else 0) == len(expected)
    for found in stats.percentiles if stats else ():
        assert interpolated(expected, found.q) == pytest.approx(found.value_s, rel=0.01), (
            window.name,
            measure,
            found.q,
        )


def test_only_the_idle_phase_answered_nobody(latencies: Latency) -> None:
    assert ["A0_idle"] == [phase.name for phase in latencies.phases if not phase.stats]


@pytest.mark.parametrize("measure", ["queue_time_s", "itl_s", "prefill_s", "decode_s"])
def test_what_only_the_server_saw_is_an_interval(latencies: Latency, measure: str) -> None:
    stats = [window.stat(measure) for window in (latencies.overall, *latencies.phases, *latencies.windows)]
    found = [percentile for stat in stats if stat for percentile in stat.percentiles]

    assert {"histogram"} == {stat.origin for stat in stats if stat}
    assert len(found) > 100
    for percentile in found:
        assert percentile.low_s is not None
        assert percentile.high_s is not None
        assert percentile.value_s is not None
        assert percentile.low_s <= percentile.value_s <= percentile.high_s


@pytest.mark.parametrize("name", ["A1_decode_c32", "A3_prefill", "A4_lowrate", "A5_single"])
def test_the_server_s_buckets_hold_what_the_client_saw(latencies: Latency, rows: list[Row], name: str) -> None:
    """In the phases in which nothing lay between the two; in the others the client itself waited for a core."""
    (phase,) = (phase for phase in latencies.phases if phase.name == name)
    scraped = {stats.measure: stats for stats in phase.stats if stats.origin == "histogram"}
    for measure, of in MEASURES.items():
        client = [of(row) for row in rows if row["phase"] == name]
        for found in scraped[measure].percentiles:
            assert found.low_s is not None
            assert found.high_s is not None
            assert found.low_s <= interpolated(client, found.q) <= found.high_s, (measure, found.q)


def test_a_client_never_saw_less_than_the_server_s_buckets_say(latencies: Latency, rows: list[Row]) -> None:
    for window in (latencies.overall, *latencies.phases):
        for stats in window.stats:
            if stats.origin == "histogram" and stats.measure in MEASURES:
                client = [MEASURES[stats.measure](row) for row in rows if window.name in (None, row["phase"])]
                for found in stats.percentiles:
                    assert found.low_s is not None
                    assert found.low_s <= 1.01 * interpolated(client, found.q)


# ----------------------------------------------------------------------------------------------------- verdict


def test_each_phase_has_its_bottleneck(analysis: Analysis) -> None:
    expected = {
        "A0_idle": "low_traffic",
        "A1_decode_c32": "memory_bandwidth",
        "A2_decode_c256": "cpu_preprocessing",
        "A3_prefill": "compute",
        "A4_lowrate": "low_traffic",
        "A5_single": "memory_bandwidth",
    }

    found = {phase.name: phase for phase in analysis.verdict.phases if phase.name != "warm-up"}

    assert expected == {name: phase.bottleneck for name, phase in found.items()}
    assert all(phase.confidence > 0.7 and phase.abstained is None for phase in found.values())


def test_shares_of_every_window_and_phase_sum_to_one(analysis: Analysis) -> None:
    verdict = analysis.verdict

    assert 1.0 == pytest.approx(sum(share.share for share in verdict.shares))
    assert len(verdict.windows) > 20
    for window in (*verdict.phases, *verdict.windows):
        assert (1.0 if window.shares else 0.0) == pytest.approx(sum(window.shares.values()))
        assert window.shares or window.abstained


def test_the_whole_run_was_observed_but_for_its_captures(analysis: Analysis) -> None:
    assert analysis.quality.coverage > 0.99
    assert analysis.quality.notes[0].startswith("14.8 s of profiler captures and their wake")


# ------------------------------------------------------------------------------------------------- utilization


def test_utilization_of_the_steady_phases_is_what_was_read_off_by_hand(data: RunData) -> None:
    later = tuple(
        replace(event, t_ns=event.t_ns + 2_000_000_000) if event.kind == "phase" else event for event in data.events
    )

    budget = conclude(replace(data, events=later)).budget

    assert budget is not None
    found = {phase.name: phase.means for phase in budget.phases if phase.name != "warm-up"}
    assert STEADY.keys() == found.keys()
    for name, (*expected, watts) in STEADY.items():
        assert expected == pytest.approx([100 * (found[name][column] or 0) for column in COLUMNS], abs=1.5)
        assert watts == pytest.approx(found[name]["power_watts"], abs=5)


def test_nvml_s_utilization_cannot_tell_decode_from_prefill(analysis: Analysis) -> None:
    assert analysis.budget is not None
    use = {phase.name: phase.means["gpu_utilization_ratio"] for phase in analysis.budget.phases}

    assert use["A1_decode_c32"] == pytest.approx(use["A3_prefill"], abs=0.05)


# -------------------------------------------------------------------------------------------------------- cost


def test_the_bill_is_the_hours_at_the_price(analysis: Analysis, bill: Cost) -> None:
    assert bill.price is not None
    assert USD_PER_HOUR == bill.price.usd_per_gpu_hour
    assert USD_PER_HOUR * analysis.source.duration_s / 3600 == pytest.approx(bill.overall.usd)
    for phase in (*bill.phases, *bill.windows):
        assert USD_PER_HOUR * (phase.end_s - phase.start_s) / 3600 == pytest.approx(phase.usd, rel=1e-6)


def test_a_thousand_inferences_cost_what_dollars_over_successes_say(bill: Cost) -> None:
    for part in (bill.overall, *bill.phases):
        if part.requests_ok:
            assert part.usd is not None
            assert 1000 * part.usd / part.requests_ok == pytest.approx(part.usd_per_1000, rel=0.01)
        else:
            assert (None, "no request succeeded in this time") == (part.usd_per_1000, part.reason)


def test_the_server_and_the_client_count_the_same_requests(bill: Cost, rows: list[Row]) -> None:
    assert len(rows) == bill.overall.requests_ok
    assert 0 == bill.overall.requests_failed


def test_your_own_price_replaces_the_default() -> None:
    own = analyze(RUN, price_usd_per_gpu_hour=1.0).cost

    assert own is not None
    assert own.price is not None
    assert "yours" == own.price.provider
    assert own.overall.usd == pytest.approx((own.overall.end_s - own.overall.start_s) / 3600)
